"""Requests in words to prompts in ids. Runs in the gateway's thread pool: tokenising a long text takes a while."""

from pomona.core.errors import ContextOverflow, InvalidRequest
from pomona.core.generation import GenerateRequest, Prompt
from pomona.core.ports import RenderedPrompt
from pomona.text.templates import ChatTemplate, Conversation
from pomona.text.tokenizer import Tokenizer

PLAUSIBLE_CHARACTERS_PER_TOKEN = 8
"""Texts of more characters than the context has tokens times this are counted in pieces, before they are tokenised as a whole."""
PIECE_CHARACTERS = 2**15
BORDER_TOKENS = 16
"""A cut through the text adds fewer tokens than this."""


class PromptBuilder:
    """Builds the prompts of one model. Safe to use from many threads.

    `max_context` is in tokens, prompt and answer together. `vocabulary` is the number of ids that the model can embed;
    by default that of the tokenizer.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate | None, *, max_context: int, vocabulary: int | None = None) -> None:
        self._tokenizer = tokenizer
        self._template = template
        self._max_context = max_context
        self._vocabulary = vocabulary or tokenizer.vocabulary_size

    def build(self, request: GenerateRequest) -> Prompt:
        """The prompt of `request`. Raises InvalidRequest, ContextOverflow or UnsupportedField, saying what to change."""
        _check_stops(request)
        self._check_ids("logit_bias", tuple(request.sampling.logit_bias))
        ids = self.render(request).token_ids
        return Prompt(
            id=request.id,
            token_ids=ids,
            sampling=request.sampling,
            max_tokens=self._room(len(ids), request),
            stop_token_ids=tuple(sorted(stop_token_ids(self._tokenizer, request))),
        )

    def render(self, request: GenerateRequest) -> RenderedPrompt:
        """The text and the ids that the model reads for `request`, before there is an answer to plan for. Raises as `build`."""
        text, ids = self._text_and_ids(request)
        return RenderedPrompt(text=text, token_ids=tuple(ids or self._begin_of_text()))

    def _text_and_ids(self, request: GenerateRequest) -> tuple[str | None, list[int]]:
        given = [name for name in ("messages", "text", "token_ids") if getattr(request, name) is not None]
        if len(given) != 1:
            raise InvalidRequest(f"A request needs exactly one of messages, text and token_ids; it has {', '.join(given) or 'none'}.")
        if request.token_ids is not None:
            self._check_ids("prompt", request.token_ids)
            return None, list(request.token_ids)
        if request.text is not None:
            self._check_length(request.text, "prompt")
            return request.text, self._tokenizer.encode(request.text, add_special_tokens=True)
        text = self._apply_template(request)
        self._check_length(text, "messages")
        return text, self._tokenizer.encode_chat(text)

    def _apply_template(self, request: GenerateRequest) -> str:
        if self._template is None:
            raise InvalidRequest(
                f"The model {request.model!r} has no chat template, so it cannot take messages. Send a plain prompt to "
                "/v1/completions, or give it a template with the setting models.chat_template.",
                param="messages",
            )
        messages = request.messages or ()
        self._check_length("".join(message.text for message in messages), "messages")
        return self._template.render(
            Conversation(
                messages=messages,
                tools=request.tools,
                options=request.template_options,
                continue_last_message=request.continue_last_message,
            )
        )

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
                    tokens=tokens,
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
        if room < 1:
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


def stop_token_ids(tokenizer: Tokenizer, request: GenerateRequest) -> frozenset[int]:
    """Ids that end the answer: the model's own, and those of special tokens given as stop strings, whose text is never visible."""
    named = frozenset(tokenizer.special_tokens[stop] for stop in request.stop if stop in tokenizer.special_tokens)
    return named if request.ignore_eos else named | tokenizer.eos_ids


def _check_stops(request: GenerateRequest) -> None:
    if "" in request.stop:
        raise InvalidRequest("stop holds an empty string, which would end every answer at once. Leave it out.", param="stop")
