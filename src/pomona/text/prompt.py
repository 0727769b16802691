"""Requests in words to prompts in ids. Runs in the gateway's thread pool: tokenising a long text takes a while."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

from pomona.core.errors import ContextOverflow, InvalidRequest, UnsupportedField
from pomona.core.generation import GenerateRequest, Prompt, PromptPicture, ReasoningLimit
from pomona.core.messages import Message, PreparedPicture, TextPart
from pomona.core.ports import RenderedPrompt
from pomona.text.answers.constraints import grammar_for, is_bound
from pomona.text.answers.infill import infill_ends, infill_ids
from pomona.text.answers.plan import (
    PLAIN,
    AnswerPlan,
    Family,
    callable_tools,
    family_of,
    opens_thought,
    plan_answer,
    with_thought,
)
from pomona.text.pictures.marks import with_marks
from pomona.text.pictures.writing import PictureWriting
from pomona.text.reasoning.options import OFF, Thinking, reasoning_limit
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tokenizer import Tokenizer

PLAUSIBLE_CHARACTERS_PER_TOKEN = 8
"""Texts of more characters than the context has tokens times this are counted in pieces, before they are tokenised as a whole."""
PIECE_CHARACTERS = 2**15
BORDER_TOKENS = 16
"""A cut through the text adds fewer tokens than this."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedPrompt:
    """A prompt, and how its answer is read."""

    prompt: Prompt
    answer: AnswerPlan


class PromptBuilder:
    """Builds the prompts of one model. Safe to use from many threads.

    `max_context` is in tokens, prompt and answer together. `vocabulary` is the number of ids that the model can embed;
    by default that of the tokenizer. `constrain_calls` binds the calls that a model is free to make to the tools' schemas. `pictures` is
    that of the template, None for a model that takes none.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        template: ChatTemplate | None,
        *,
        max_context: int,
        vocabulary: int | None = None,
        constrain_calls: bool = True,
        pictures: PictureWriting | None = None,
    ) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._max_context = max_context
        self._vocabulary = vocabulary or tokenizer.vocabulary_size
        self._constrain_calls = constrain_calls
        self._pictures = pictures

    def build(self, request: GenerateRequest) -> Prompt:
        """The prompt of `request`. Raises InvalidRequest, ContextOverflow or UnsupportedField, saying what to change."""
        return self.plan(request).prompt

    def plan(self, request: GenerateRequest) -> PlannedPrompt:
        """The prompt of `request` and what is known of its answer. Raises as `build`."""
        _check_stops(request)
        self._check_ids("logit_bias", tuple(request.sampling.logit_bias))
        self._check_ids("logprob_token_ids", request.sampling.logprob_token_ids)
        asked = self._asked(request)
        grammar = grammar_for(request, asked.answer, asked.family, self._tokenizer, constrain=self._constrain_calls)
        prompt = Prompt(
            id=request.id,
            token_ids=asked.ids,
            sampling=request.sampling,
            max_tokens=self._room(len(asked.ids), request),
            stop_token_ids=tuple(sorted(stop_token_ids(self._tokenizer, request, asked.answer))),
            grammar=grammar,
            reasoning_limit=self._limit(request, asked, bound=grammar is not None and not grammar.repeats),
            prompt_logprobs=request.prompt_logprobs,
            priority=request.priority,
            caller=request.account or request.caller,
            pictures=asked.pictures,
        )
        return PlannedPrompt(prompt=prompt, answer=asked.answer)

    def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The text and the ids that the model reads for `request`, before there is an answer to plan for. Raises as `build`."""
        asked = self._asked(request)
        return RenderedPrompt(text=asked.text, token_ids=asked.ids)

    def _asked(self, request: GenerateRequest) -> "_Asked":
        asked = self._asked_in_any_form(request)
        return asked if asked.ids else _Asked(text=asked.text, ids=tuple(self._begin_of_text()), answer=asked.answer, family=asked.family)

    def _asked_in_any_form(self, request: GenerateRequest) -> "_Asked":
        given = [name for name in ("messages", "text", "token_ids") if getattr(request, name) is not None]
        if len(given) != 1:
            raise InvalidRequest(f"A request needs exactly one of messages, text and token_ids; it has {', '.join(given) or 'none'}.")
        if request.suffix is not None and request.text is None:
            raise InvalidRequest("suffix goes with a prompt that is one text. Leave it out, or give the prompt as text.", param="suffix")
        if request.token_ids is not None:
            self._check_ids("prompt", request.token_ids)
            return _Asked(text=None, ids=tuple(request.token_ids))
        if request.text is not None:
            return self._asked_with_text(request.text, request.suffix)
        return self._asked_with_messages(request)

    def _asked_with_text(self, text: str, suffix: str | None) -> "_Asked":
        self._check_length(text + (suffix or ""), "prompt")
        if suffix is None:
            return _Asked(text=text, ids=tuple(self._tokenizer.encode(text, add_special_tokens=True)))
        ids = tuple(infill_ids(self._tokenizer, text, suffix))
        return _Asked(
            text=self._tokenizer.decode(ids, skip_special_tokens=False), ids=ids, answer=AnswerPlan(stop_ids=infill_ends(self._tokenizer))
        )

    def _asked_with_messages(self, request: GenerateRequest) -> "_Asked":
        template = self._template_of(request)
        tools = callable_tools(request)
        family = family_of(template, self._tokenizer, with_tools=bool(tools))
        thinking = Thinking.of(request.reasoning)
        self._check_length("".join(message.text for message in request.messages or ()), "messages")
        messages, pictures = self._marked(request.messages or ())
        shown = partial(_rendered, template, replace(request, messages=messages), family, shows_tools=bool(tools))
        text = shown(thinking)

        def opens() -> bool:
            rendered_off = shown(OFF) if family.switchable else text
            return opens_thought(family, thinking, text, rendered_off, bound=is_bound(request, answer))

        answer = plan_answer(family, self._tokenizer, tools, parallel=request.tool_choice.parallel)
        if not request.continue_last_message:
            answer = with_thought(answer, family, text, thinking, opens=opens)
        text += answer.appended
        self._check_length(text, "messages")
        if self._pictures is None:
            return _Asked(text=text, ids=tuple(self._tokenizer.encode_chat(text)), answer=answer, family=family)
        ids, placed = self._pictures.encode(text, pictures, self._tokenizer)
        return _Asked(text=self._pictures.shown(text), ids=ids, answer=answer, family=family, pictures=placed)

    def _marked(self, messages: Sequence[Message]) -> tuple[tuple[Message, ...], tuple[PreparedPicture, ...]]:
        """Messages with marks for their pictures. Raises UnsupportedField where nobody prepared them for this model."""
        seen = next((message for message in messages if any(not isinstance(part, TextPart) for part in message.content)), None)
        if seen is not None and (self._pictures is None or seen.pictures):
            raise UnsupportedField("The messages hold pictures, and this model takes none. Leave them out.", param="messages")
        return with_marks(messages) if self._pictures is not None else (tuple(messages), ())

    def _template_of(self, request: GenerateRequest) -> ChatTemplate:
        if self._template is None:
            raise InvalidRequest(
                f"The model {request.model!r} has no chat template, so it cannot take messages. Send a plain prompt to "
                "/v1/completions, or give it a template with the setting models.chat_template.",
                param="messages",
            )
        return self._template

    def _limit(self, request: GenerateRequest, asked: "_Asked", *, bound: bool) -> ReasoningLimit | None:
        marks = asked.family.marks if asked.family else None
        if asked.family is None or marks is None:
            return None
        tokens = Thinking.of(request.reasoning).limit_tokens(asked.family.variables)
        if tokens is None or (bound and not asked.answer.opened):
            return None
        return reasoning_limit(tokens, marks, self._tokenizer, opened=asked.answer.opened, bound=bound)

    def _check_length(self, text: str, param: str) -> None:
        """Refuse a text that cannot fit after reading not much more of it than fits."""
        if len(text) <= self._max_context * PLAUSIBLE_CHARACTERS_PER_TOKEN:
            return
        tokens = 0
        for start in range(0, len(text), PIECE_CHARACTERS):
            piece = text[start : start + PIECE_CHARACTERS]
            tokens += len(self._tokenizer.encode(piece, add_special_tokens=False)) - BORDER_TOKENS
            if tokens >= self._max_context:
                raise ContextOverflow(
                    f"The prompt has {len(text):,} characters and far more than {tokens:,} tokens; the model's context is "
                    f"{self._max_context:,} tokens. Shorten the prompt: drop old messages, or send only the part that matters.",
                    param=param,
                    tokens=tokens * len(text) // (start + len(piece)),  # the rest is about as dense
                    limit=self._max_context,
                )

    def _check_ids(self, param: str, ids: tuple[int, ...]) -> None:
        for token_id in ids:
            if not 0 <= token_id < self._vocabulary:
                raise InvalidRequest(
                    f"{param} holds the token id {token_id!r}; this model's ids go from 0 to {self._vocabulary - 1}.", param=param
                )

    def _begin_of_text(self) -> list[int]:
        if self._tokenizer.bos_id is None:
            raise InvalidRequest(
                "The prompt is empty, and this model has no token to begin a text with. Give it some text.", param="prompt"
            )
        return [self._tokenizer.bos_id]

    def _room(self, prompt_tokens: int, request: GenerateRequest) -> int:
        """Tokens that the answer may have."""
        room = self._max_context - prompt_tokens
        param = "prompt" if request.messages is None else "messages"
        if room < (0 if request.max_tokens == 0 else 1):
            raise ContextOverflow(
                f"The prompt has {prompt_tokens:,} tokens; the model's context is {self._max_context:,} tokens, and the answer needs room "
                "too. Shorten the prompt: drop old messages, or send only the part that matters.",
                param=param,
                tokens=prompt_tokens,
                limit=self._max_context,
            )
        wanted = request.max_tokens
        if wanted is None:
            return room
        if wanted == 0 and request.prompt_logprobs is not None:
            return 0
        if wanted < 1:
            raise InvalidRequest(f"max_tokens is {wanted!r}; it must be at least 1, or left out.", param="max_tokens")
        if wanted > room and request.clamp_max_tokens:
            return room
        if wanted > room:
            raise ContextOverflow(
                f"The prompt has {prompt_tokens:,} tokens and max_tokens asks for {wanted:,} more; the model's context is "
                f"{self._max_context:,} tokens. Ask for at most {room:,}, leave max_tokens out, or shorten the prompt.",
                param="max_tokens",
                tokens=prompt_tokens + wanted,
                limit=self._max_context,
            )
        return wanted


@dataclass(frozen=True, slots=True, kw_only=True)
class _Asked:
    """A request as the model reads it. `family` is None where no chat template was used."""

    text: str | None
    ids: tuple[int, ...]
    answer: AnswerPlan = PLAIN
    family: Family | None = None
    pictures: tuple[PromptPicture, ...] = ()


def _rendered(template: ChatTemplate, request: GenerateRequest, family: Family, thinking: Thinking, *, shows_tools: bool) -> str:
    return template.render(
        Conversation(
            messages=request.messages or (),
            tools=request.tools if shows_tools else (),
            options={**thinking.variables(family.variables), **request.template_options},
            continue_last_message=request.continue_last_message,
            write_calls=family.dialect.written,
        )
    )


def stop_token_ids(tokenizer: Tokenizer, request: GenerateRequest, answer: AnswerPlan = PLAIN) -> frozenset[int]:
    """Ids that end the answer: the model's own, those behind calls, and special tokens given as stop strings, whose text never shows."""
    named = frozenset(tokenizer.special_tokens[stop] for stop in request.stop if stop in tokenizer.special_tokens)
    return named if request.ignore_eos else named | tokenizer.eos_ids | answer.stop_ids


def _check_stops(request: GenerateRequest) -> None:
    if "" in request.stop:
        raise InvalidRequest("stop holds an empty string, which would end every answer at once. Leave it out.", param="stop")
