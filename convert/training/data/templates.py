"""Instructions in words: preference x intention x task, as in InstructRec, in our own wording.

17 are about preferences, 9 about intentions, 13 about both. A slot in braces on a line of its own is filled with
titles, one per line; a slot inside a line is filled with words. The answer follows the last line.
Source: arXiv 2305.07001 (InstructRec), section 3.1: the grid and its counts; section 3.2.3: three ways to diversify.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Preference = Literal["P0", "P1", "P2", "P1+P2"]
Intention = Literal["I0", "I1", "I2"]
Task = Literal["T0", "T1", "T2", "T3"]
Answer = Literal["title", "verdict", "pick", "preference", "preference, title", "query", "query, title"]


@dataclass(frozen=True, slots=True)
class Template:
    """One wording.

    Attributes:
        preference: P0 none, P1 titles, P2 words.
        intention: I0 none, I1 vague, I2 specific.
        task: T0 yes or no, T1 one of two titles, T2 any title, T3 one of several titles.
        answer: what the model has to predict.
        text: with the slots history, preference, intention, candidates, item, first and second.
    """

    preference: Preference
    intention: Intention
    task: Task
    answer: Answer
    text: str

    @property
    def cell(self) -> str:
        """Its place in the grid, such as "P1,I0,T2"."""
        return f"{self.preference},{self.intention},{self.task}"

    @property
    def has_query(self) -> bool:
        """Whether an intention is part of the instruction or of the answer."""
        return "{intention}" in self.text or "query" in self.answer

    @property
    def allows_history_intent(self) -> bool:
        """Whether the intention can be made of the user's history instead of the target: where it shows both."""
        return "{intention}" in self.text and self.preference != "P0"

    @property
    def has_verdict(self) -> bool:
        """Whether the answer is one of two."""
        return self.answer in {"verdict", "pick"}

    @property
    def is_open(self) -> bool:
        """Whether the answer stands on the last line of the text instead of below it."""
        return self.answer not in {"title", "pick"}

    @property
    def target_words(self) -> Literal["preference", "intention"] | None:
        """The words that the answer begins with; None if it has no words."""
        if "query" in self.answer:
            return "intention"
        return "preference" if "preference" in self.answer else None

    @property
    def kind(self) -> str:
        """What the template is about: "preference", "intention", or "combined"."""
        if "query" in self.answer:
            return "combined" if "{history}" in self.text else "intention"
        if self.intention == "I0":
            return "preference"
        return "intention" if self.preference == "P0" else "combined"


TEMPLATES: tuple[Template, ...] = (
    # preferences
    Template("P1", "I0", "T2", "title",
             "Someone watched these films, one after the other:\n"
             "{history}\nWhat they watch next:"),
    Template("P1", "I0", "T2", "title", "A viewer's list, the oldest first:\n{history}\nThe list goes on with:"),
    Template("P1", "I0", "T2", "title", "After these evenings at the cinema\n{history}\nthe next ticket is for:"),
    Template("P1", "I0", "T2", "title", "Which film belongs on this shelf, beside the others?\n{history}\nPut there:"),
    Template("P2", "I0", "T2", "title", "Their taste in a few words: {preference}\nA film they would choose:"),
    Template("P2", "I0", "T2", "title", "For a person who likes {preference}, the programme shows:"),
    Template("P1+P2", "I0", "T2", "title", "In general: {preference}\nLately:\n{history}\nAnd now:"),
    Template("P1", "I0", "T3", "title", "Watched so far:\n{history}\nOn offer tonight:\n{candidates}\nThey take:"),
    Template("P1", "I0", "T3", "title", "Of the films\n{candidates}\none comes next after\n{history}\nIt is:"),
    Template("P2", "I0", "T3", "title",
             "A fan of {preference} can have one of these:\n"
             "{candidates}\nThe best of them for this fan:"),
    Template("P1", "I0", "T0", "verdict",
             "Somebody enjoyed\n{history}\n"
             "Would they enjoy the following?\n{item}\nYes or no:"),
    Template("P1", "I0", "T0", "verdict", "Seen:\n{history}\nProposed:\n{item}\nAccepted:"),
    Template("P2", "I0", "T0", "verdict", "Taste: {preference}\nIs this a film for it?\n{item}\nAnswer:"),
    Template("P1", "I0", "T1", "pick", "Known films:\n{history}\nRather\n{first}\nor\n{second}\nThe better one:"),
    Template("P1", "I0", "T2", "preference", "From this list of films\n{history}\none can tell what the viewer likes:"),
    Template("P1", "I0", "T2", "preference",
             "Say in a line what these have in common for the one who chose them.\n"
             "{history}\nTaste:"),
    Template("P1", "I0", "T2", "preference, title",
             "Look at the list, name the taste behind it, then the next film.\n"
             "{history}\nTaste:"),
    # intentions
    Template("P0", "I1", "T2", "title", "Tonight they are looking for {intention}\nA film for that:"),
    Template("P0", "I1", "T2", "title", "Question at the counter: do you have {intention}\nHanded over:"),
    Template("P0", "I2", "T2", "title", "Search: {intention}\nFirst result:"),
    Template("P0", "I2", "T2", "title", "A film is wanted, and it must be: {intention}\nFound:"),
    Template("P0", "I2", "T3", "title", "Wanted: {intention}\nIn stock:\n{candidates}\nThe one that fits:"),
    Template("P0", "I1", "T3", "title", "They feel like {intention}\nThere is\n{candidates}\nThey should take:"),
    Template("P0", "I2", "T0", "verdict", "Somebody asks for {intention}\nDoes this answer it?\n{item}\nYes or no:"),
    Template("P0", "I2", "T2", "query", "One would find the film\n{item}\nby searching for:"),
    Template("P0", "I2", "T2", "query", "Tag this film for the catalog.\n{item}\nTags:"),
    # both
    Template("P1", "I2", "T2", "title", "Knowing these\n{history}\nthey search for {intention}\nand choose:"),
    Template("P1", "I2", "T2", "title", "History:\n{history}\nQuery: {intention}\nResult for this person:"),
    Template("P1", "I1", "T2", "title", "They have seen\n{history}\nand now want {intention}\nSo:"),
    Template("P1", "I1", "T2", "title", "After\n{history}\nsomebody says: {intention}\nRecommend:"),
    Template("P2", "I2", "T2", "title", "Likes {preference}, and asks for {intention}\nOffer:"),
    Template("P2", "I1", "T2", "title", "A friend of {preference} is in the mood for {intention}\nOffer:"),
    Template("P1+P2", "I2", "T2", "title",
             "Taste: {preference}\nLately:\n{history}\n"
             "This time: {intention}\nTherefore:"),
    Template("P1", "I2", "T3", "title",
             "Seen:\n{history}\nAsked for: {intention}\n"
             "Candidates:\n{candidates}\nFirst choice:"),
    Template("P1", "I1", "T3", "title",
             "From\n{candidates}\nsomeone who knows\n"
             "{history}\nand wants {intention}\ntakes:"),
    Template("P2", "I2", "T3", "title",
             "Between\n{candidates}\n"
             "a person who likes {preference} and looks for {intention}\ndecides for:"),
    Template("P1", "I2", "T0", "verdict", "Watched:\n{history}\nWish: {intention}\nProposal:\n{item}\nGood:"),
    Template("P1", "I2", "T2", "query, title",
             "Given this history, what will be searched for, and chosen?\n"
             "{history}\nSearch:"),
    Template("P1", "I2", "T2", "preference",
             "After\n{history}\nthe search was {intention}\n"
             "and the choice\n{item}\nThat shows a taste for:"),
)  # fmt: skip
"""All templates. The wording of requests to the recommender is in `genrec_edge.decoding.prompts`."""
