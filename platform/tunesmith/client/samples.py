"""Samples of evaluations: ours, a look at a file, and data sets of samples that are edited.

Knows the samples' endpoints and views; knows no HTTP.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from tunesmith.client.calls import Calls
from tunesmith.evaluation.results import Split
from tunesmith.evaluation.sample_views import SampleCheck, SamplesEdited


class Samples(Calls):
    """`client.samples`: every call on the samples of evaluations."""

    def default(self, language: Literal["en", "zh", "all"] = "all") -> dict[str, list[dict[str, Any]]]:
        """The samples that come with Tunesmith, as a sample file: `{"train": [...], "validation": [...]}`."""
        found: dict[str, list[dict[str, Any]]] = self._transport.call(
            "GET", "/v1/evaluations/samples", query={"language": language}
        )
        return found

    def check(
        self,
        file: str,
        *,
        prompt_column: str | None = None,
        response_column: str | None = None,
        system_column: str | None = None,
        default_split: Split = "validation",
        split: Split | None = None,
        first: int = 20,
    ) -> SampleCheck:
        """What a sample file of the server holds: counts, what is wrong with which, and the first samples.

        Args:
            file: An absolute path, as the server sees it, or a data set.
            prompt_column: The column of what is asked; found by its name where it is not given.
            response_column: The column of the expected answer.
            system_column: The column of system prompts.
            default_split: What rows belong to that name no `split`.
            split: Show samples of this split alone.
            first: How many samples to show.

        Raises:
            InvalidData: It is of no use as a whole.
        """
        body = {
            "file": file,
            "prompt_column": prompt_column,
            "response_column": response_column,
            "system_column": system_column,
            "default_split": default_split,
            "split": split,
            "first": first,
        }
        return self._view(
            SampleCheck, self._transport.call("POST", "/v1/evaluations/samples:check", body=body)
        )

    def edit(
        self,
        dataset: str,
        add: Sequence[Mapping[str, Any]] = (),
        remove: Sequence[str] = (),
        *,
        if_version: int | None = None,
    ) -> SamplesEdited:
        """Add samples to a data set and take some out: its next version has the result.

        Args:
            dataset: Its name; made where there is none.
            add: Samples, each a `prompt` with its `completion`, or `messages`; beside them `split`, `system`,
                `keywords`, `checks`, `label`, `id`.
            remove: Ids of samples.
            if_version: Refuse where its newest version is another; 0 where there is one.

        Raises:
            InvalidData: Something to be added is no sample; nothing is changed then.
            Conflict: It is not at the version that was named.
        """
        body: dict[str, Any] = {"dataset": dataset, "add": [dict(one) for one in add], "remove": list(remove)}
        if if_version is not None:
            body["if_version"] = if_version
        return self._view(
            SamplesEdited, self._transport.call("POST", "/v1/evaluations/samples:edit", body=body)
        )
