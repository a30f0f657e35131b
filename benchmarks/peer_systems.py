"""Other systems that generate titles of a catalog with a language model, each as its users run it.

Every system gets the same weights, the same prompts as token ids and the same titles. `peers.py` runs each in a process
of its own, with its name as argument, a job as JSON on stdin and the outcome as JSON on stdout.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Job:
    """The input of every system.

    Attributes:
        model: the GGUF file.
        catalog: the catalog file, for our own recommender.
        score: "catalog" or "vocabulary": what the probability of a title is.
        prompts: token ids.
        histories: ids of the items of each history, for our own recommender.
        titles: token ids of each title, by catalog row in `rows`.
        texts: the titles as the model sees them.
        k: number of titles to return.
        n_threads: CPU threads.
        limit: number of titles in the grammars, None for all.
        seed: of all draws.
    """

    model: str
    catalog: str
    score: str
    prompts: list[list[int]]
    histories: list[list[str]]
    titles: list[list[int]]
    texts: list[str]
    rows: list[int]
    newline_id: int
    k: int
    n_threads: int
    limit: int | None
    seed: int


@dataclass(frozen=True, slots=True)
class Answer:
    """The result of a system: catalog rows, best first; tokens evaluated; generated texts that are not a title."""

    rows: list[int]
    tokens: int
    invalid: int = 0
    repeated: int = 0


class System(Protocol):
    """A system whose model is loaded and whose titles are prepared. `scale` multiplies its times: 1 if all was done."""

    scale: float

    def answer(self, i: int) -> Answer:
        """Answer the i-th prompt of the job."""
        ...


class Ours:
    """The exact search, through the public recommender: it also grounds the history and reads the rows.

    It asks the model alone, as all others do.
    """

    scale = 1.0

    def __init__(self, job: Job) -> None:
        from genrec_edge import Recommender
        from genrec_edge.records import Interaction

        self._r = Recommender.open(Path(job.model), Path(job.catalog), n_threads=job.n_threads, prior_kind="none")
        self._histories = [[Interaction(id=item_id) for item_id in history] for history in job.histories]
        self._k = job.k

    def answer(self, i: int) -> Answer:
        """Recommend, seen items allowed as they are to all others."""
        result = self._r.recommend(self._histories[i], k=self._k, allow_seen=True)
        new = result.timings.prompt_tokens - result.timings.reused_tokens
        return Answer([found.item.row for found in result.items], new + result.timings.evaluated_tokens)


class TransformersBeams:
    """Beam search with `prefix_allowed_tokens_fn` over a trie: the way of D3 and MiniOneRec."""

    scale = 1.0

    def __init__(self, job: Job, n_beams: int) -> None:
        import torch
        from transformers import AutoModelForCausalLM

        torch.set_num_threads(job.n_threads)
        path = Path(job.model)
        self._model: Any = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
        self._trie: dict[int, Any] = {}
        for row, title in zip(job.rows, job.titles, strict=True):
            node = self._trie
            for token in title:
                node = node.setdefault(token, {})
            node.setdefault(job.newline_id, []).append(row)
        self._longest = max(map(len, job.titles)) + 1
        self._job, self._n_beams, self._torch = job, n_beams, torch

    def answer(self, i: int) -> Answer:
        """Let `generate` find as many titles as it has beams, and keep the best."""
        job, prompt = self._job, self._job.prompts[i]
        seen: set[tuple[int, ...]] = set()

        def allowed(_batch: int, ids: Any) -> list[int]:
            path = tuple(ids.tolist()[len(prompt) :])
            seen.add(path)
            return list(self._below(path)) or [job.newline_id]

        ids = self._torch.tensor([prompt])
        found = self._model.generate(
            ids,
            attention_mask=self._torch.ones_like(ids),
            num_beams=self._n_beams,
            num_return_sequences=job.k,
            max_new_tokens=self._longest,
            do_sample=False,
            length_penalty=0.0,
            early_stopping=False,
            renormalize_logits=job.score == "catalog",
            prefix_allowed_tokens_fn=allowed,
            eos_token_id=job.newline_id,
            pad_token_id=job.newline_id,
        )
        rows, invalid = list[int](), 0
        for sequence in found[:, len(prompt) :].tolist():
            title = sequence[: sequence.index(job.newline_id)] if job.newline_id in sequence else sequence
            items = self._below(title).get(job.newline_id)
            invalid += not items
            rows += items or []
        # `generate` evaluates the prompt once for each beam.
        return Answer(rows[: job.k], len(prompt) * self._n_beams + len(seen), invalid)

    def _below(self, path: Sequence[int]) -> dict[int, Any]:
        node: Any = self._trie
        for token in path:
            node = node.get(token, {}) if isinstance(node, dict) else {}
        return node if isinstance(node, dict) else {}


class LlamaCppPython:
    """What the next systems share: `llama_cpp.Llama`, which keeps the common beginning of two prompts in its cache."""

    scale = 1.0

    def __init__(self, job: Job, *, logits_all: bool = False) -> None:
        from benchmarks.peer_llama import open_llama

        self._llm = open_llama(
            Path(job.model), n_ctx=2048, n_batch=512, n_threads=job.n_threads, n_threads_batch=job.n_threads,
            logits_all=logits_all, seed=job.seed,
        )  # fmt: skip
        self._job = job

    def _answer(self, i: int, draw: Callable[[], list[int]], row_of: Callable[[str], int | None]) -> Answer:
        """Draw `k` lines after the i-th prompt and count what they are."""
        rows, invalid, repeated, n_tokens = list[int](), 0, 0, len(self._job.prompts[i])
        for _ in range(self._job.k):
            line = draw()
            n_tokens += len(line)
            row = row_of(self._text(line))
            if row is None:
                invalid += 1
            elif row in rows:
                repeated += 1
            else:
                rows.append(row)
        return Answer(rows, n_tokens, invalid, repeated)

    def _tokens(self, prompt: list[int], **options: Any) -> Iterator[int]:
        """Yield tokens drawn at temperature 1 from all of the distribution."""
        drawn = self._llm.generate(prompt, temp=1.0, top_k=0, top_p=1.0, min_p=0.0, repeat_penalty=1.0, **options)
        return iter(drawn)

    def _draw(self, prompt: list[int], **options: Any) -> list[int]:
        """Return the tokens of a line."""
        line: list[int] = []
        for token in self._tokens(prompt, **options):
            if token in {self._job.newline_id, self._llm.token_eos()} or len(line) == 64:
                break
            line.append(token)
        return line

    def _text(self, token_ids: list[int]) -> str:
        return self._llm.detokenize(token_ids).decode("utf-8", errors="replace").strip()


class FreeText(LlamaCppPython):
    """Ten lines are drawn and grounded by RapidFuzz: the way of GenRec."""

    def answer(self, i: int) -> Answer:
        """Draw ten titles and look for the nearest title of the catalog."""
        from rapidfuzz import process

        job = self._job

        def nearest(text: str) -> int | None:
            best = process.extractOne(text, job.texts, score_cutoff=90)
            return None if best is None else job.rows[best[2]]

        return self._answer(i, lambda: self._draw(job.prompts[i]), nearest)


class Gbnf(LlamaCppPython):
    """llama.cpp's own grammars: the titles as alternatives, ten are drawn; `limit` of them, its masks are slow."""

    def __init__(self, job: Job) -> None:
        from llama_cpp.llama_grammar import LlamaGrammar

        super().__init__(job)
        n = job.limit or len(job.texts)
        self._row_of = dict(zip(job.texts[:n], job.rows[:n], strict=True))
        quoted = (json.dumps(text, ensure_ascii=False) for text in self._row_of)
        rule = "root ::= (" + " | ".join(quoted) + ') "\\n"'
        self._grammar: Callable[[], Any] = lambda: LlamaGrammar.from_string(rule, verbose=False)

    def answer(self, i: int) -> Answer:
        """Draw ten titles."""
        prompt = self._job.prompts[i]
        return self._answer(i, lambda: self._draw(prompt, grammar=self._grammar()), self._row_of.get)


class LlGuidance(LlamaCppPython):
    """llguidance over llama-cpp-python: a mask for every token out of a grammar of all titles, ten are drawn."""

    def __init__(self, job: Job) -> None:
        import llguidance
        from llguidance.llamacpp import lltokenizer_from_vocab

        super().__init__(job)
        self._tokenizer = lltokenizer_from_vocab(self._llm._model.vocab, eos_token=job.newline_id)
        self._row_of = dict(zip(job.texts, job.rows, strict=True))
        rule = " | ".join(json.dumps(text, ensure_ascii=False) for text in self._row_of)
        # One terminal: a rule of so many alternatives exceeds the limits of its parser, and stops in mid-title.
        grammar = llguidance.LLMatcher.grammar_from_lark(f"start: TITLE\nTITLE: {rule}")
        self._matcher = llguidance.LLMatcher(self._tokenizer, grammar)
        if error := self._matcher.get_error():
            raise SystemExit(error)

    def answer(self, i: int) -> Answer:
        """Draw ten titles."""
        return self._answer(i, lambda: self._title(self._job.prompts[i]), self._row_of.get)

    def _title(self, prompt: list[int]) -> list[int]:
        from llama_cpp import LogitsProcessorList
        from llguidance.numpy import allocate_token_bitmask, apply_token_bitmask_inplace, fill_next_token_bitmask

        mask = allocate_token_bitmask(1, self._tokenizer.vocab_size)
        matcher, line = self._matcher.deep_copy(), list[int]()

        def masked(_ids: NDArray[np.intc], logits: NDArray[np.single]) -> NDArray[np.single]:
            fill_next_token_bitmask(matcher, mask)
            apply_token_bitmask_inplace(logits[None, :], mask)
            return logits

        for token in self._tokens(prompt, logits_processor=LogitsProcessorList([masked])):
            if token == self._job.newline_id:
                break
            line.append(token)
            if not matcher.consume_token(token) or matcher.is_stopped():
                break
        return line


class OneByOne(LlamaCppPython):
    """Every title by itself below the prompt, which stays in the cache. `SAMPLE` of them are done, and times scaled."""

    SAMPLE = 150

    def __init__(self, job: Job) -> None:
        super().__init__(job, logits_all=True)
        self._sample = np.random.default_rng(job.seed).permutation(len(job.titles))[: self.SAMPLE].tolist()
        self.scale = len(job.titles) / len(self._sample)

    def answer(self, i: int) -> Answer:
        """Evaluate the titles of the sample; the answer would be the exact one, and is left out."""
        prompt, llm, n_tokens = self._job.prompts[i], self._llm, 0
        llm.reset()  # type: ignore[no-untyped-call]
        llm.eval(prompt[:-1])
        for at in self._sample:
            title = self._job.titles[at]
            llm.n_tokens = len(prompt) - 1
            llm.eval([prompt[-1], *title])
            scores = llm.scores[len(prompt) - 1 : len(prompt) + len(title)]
            tops = scores.max(axis=1, keepdims=True)
            float((tops + np.log(np.exp(scores - tops).sum(axis=1, keepdims=True))).sum())
            n_tokens += len(title) + 1
        return Answer([], len(prompt) + round(self.scale * n_tokens))


SYSTEMS: dict[str, Callable[[Job], System]] = {
    "ours": Ours,
    "transformers, 10 beams": lambda job: TransformersBeams(job, 10),
    "transformers, 50 beams": lambda job: TransformersBeams(job, 50),
    "free text + RapidFuzz": FreeText,
    "GBNF": Gbnf,
    "llguidance": LlGuidance,
    "one by one": OneByOne,
}


def main() -> None:
    """Run the system that is named, with a job from stdin; the first prompt once more, so that nothing is new."""
    job = Job(**json.load(sys.stdin))
    started = time.perf_counter()
    system = SYSTEMS[sys.argv[1]](job)
    startup_s = time.perf_counter() - started
    outcomes = []
    for i in range(-1, len(job.prompts)):
        before = time.perf_counter()
        answer = system.answer(max(i, 0) if i >= 0 else len(job.prompts) - 1)
        outcomes.append({**asdict(answer), "seconds": (time.perf_counter() - before) * (system.scale if i >= 0 else 1)})
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    json.dump({"startup_s": startup_s, "peak_mib": peak_mib, "answers": outcomes[1:]}, sys.stdout)


if __name__ == "__main__":
    main()
