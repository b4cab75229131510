"""The fields of Gemini's requests (wire §4.5): whatever is not named here is refused.

`functionCall` and `functionResponse` have no `id` on Vertex (wire §5.4); the `parameters` of a function are
Vertex's own small schema, `parametersJsonSchema` is free.
"""

from __future__ import annotations

from perf.simulator.executables.protojson import Keyed, Kind, Many

_TYPES = ("TYPE_UNSPECIFIED", "STRING", "NUMBER", "INTEGER", "BOOLEAN", "ARRAY", "OBJECT", "NULL")
_HARMS = tuple(
    f"HARM_CATEGORY_{name}"
    for name in (
        "UNSPECIFIED", "HATE_SPEECH", "DANGEROUS_CONTENT", "HARASSMENT", "SEXUALLY_EXPLICIT",
        "CIVIC_INTEGRITY", "JAILBREAK",
    )
)  # fmt: skip
_THRESHOLDS = (
    "HARM_BLOCK_THRESHOLD_UNSPECIFIED", "BLOCK_LOW_AND_ABOVE", "BLOCK_MEDIUM_AND_ABOVE", "BLOCK_ONLY_HIGH",
    "BLOCK_NONE", "OFF",
)  # fmt: skip

MESSAGES: dict[str, dict[str, Kind]] = {
    "GenerateContentRequest": {
        "contents": Many("Content"),
        "systemInstruction": "Content",
        "tools": Many("Tool"),
        "toolConfig": "ToolConfig",
        "generationConfig": "GenerationConfig",
        "safetySettings": Many("SafetySetting"),
        "labels": Keyed("string"),
    },
    "Content": {"role": "string", "parts": Many("Part")},
    "Part": {
        "text": "string",
        "inlineData": "Blob",
        "fileData": "FileData",
        "functionCall": "FunctionCall",
        "functionResponse": "FunctionResponse",
        "thought": "bool",
        "thoughtSignature": "bytes",
        "videoMetadata": "struct",
        "mediaResolution": "value",
    },
    "Blob": {"mimeType": "string", "data": "bytes", "displayName": "string"},
    "FileData": {"mimeType": "string", "fileUri": "string", "displayName": "string"},
    "FunctionCall": {"name": "string", "args": "struct"},
    "FunctionResponse": {"name": "string", "response": "struct"},
    "Tool": {
        "functionDeclarations": Many("FunctionDeclaration"),
        "googleSearch": "struct",
        "codeExecution": "struct",
        "urlContext": "struct",
    },
    "FunctionDeclaration": {
        "name": "string",
        "description": "string",
        "parameters": "Schema",
        "parametersJsonSchema": "value",
        "response": "Schema",
        "responseJsonSchema": "value",
    },
    "Schema": {
        "type": _TYPES,
        "format": "string",
        "title": "string",
        "description": "string",
        "nullable": "bool",
        "default": "value",
        "example": "value",
        "items": "Schema",
        "minItems": "int32",
        "maxItems": "int32",
        "enum": Many("string"),
        "properties": Keyed("Schema"),
        "propertyOrdering": Many("string"),
        "required": Many("string"),
        "minProperties": "int32",
        "maxProperties": "int32",
        "minimum": "float",
        "maximum": "float",
        "minLength": "int32",
        "maxLength": "int32",
        "pattern": "string",
        "anyOf": Many("Schema"),
    },
    "ToolConfig": {"functionCallingConfig": "FunctionCallingConfig", "retrievalConfig": "struct"},
    "FunctionCallingConfig": {
        "mode": ("MODE_UNSPECIFIED", "AUTO", "ANY", "NONE", "VALIDATED"),
        "allowedFunctionNames": Many("string"),
    },
    "GenerationConfig": {
        "temperature": "float",
        "topP": "float",
        "topK": "float",
        "candidateCount": "int32",
        "maxOutputTokens": "int32",
        "stopSequences": Many("string"),
        "presencePenalty": "float",
        "frequencyPenalty": "float",
        "seed": "int32",
        "responseLogprobs": "bool",
        "logprobs": "int32",
        "responseMimeType": "string",
        "responseSchema": "Schema",
        "responseJsonSchema": "value",
        "responseModalities": Many(("MODALITY_UNSPECIFIED", "TEXT", "IMAGE", "AUDIO")),
        "mediaResolution": "string",
        "audioTimestamp": "bool",
        "thinkingConfig": "ThinkingConfig",
    },
    "ThinkingConfig": {
        "includeThoughts": "bool",
        "thinkingBudget": "int32",
        "thinkingLevel": ("THINKING_LEVEL_UNSPECIFIED", "MINIMAL", "LOW", "MEDIUM", "HIGH"),
    },
    "SafetySetting": {
        "category": _HARMS,
        "threshold": _THRESHOLDS,
        "method": ("HARM_BLOCK_METHOD_UNSPECIFIED", "SEVERITY", "PROBABILITY"),
    },
    "PredictRequest": {"instances": Many("Instance"), "parameters": "EmbeddingParameters"},
    "Instance": {"content": "string", "title": "string", "task_type": "string", "mimeType": "string"},
    "EmbeddingParameters": {"outputDimensionality": "int32", "autoTruncate": "bool"},
}
