#include "serve/openapi.h"

namespace gavel {

namespace {

// tests/serve sends every route's examples, and compares the keys of the answers with these.
constexpr const char* kSchemas = R"({
  "TextError": {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}},
  "ServerError": {"type": "object", "required": ["error"], "properties": {"error": {
    "type": "object", "required": ["message", "type", "code"], "properties": {
      "message": {"type": "string"}, "type": {"type": "string"}, "param": {"type": "null"}, "code": {"type": "integer"}}}}},
  "TypedError": {"type": "object", "required": ["error", "error_type"], "properties": {
    "error": {"type": "string"},
    "error_type": {"enum": ["Unhealthy", "Backend", "Overloaded", "Validation"]}}},

  "Turns": {"description": "A text, or one for each round of a conversation", "oneOf": [
    {"type": "string"}, {"type": "array", "minItems": 1, "items": {"type": ["string", "null"]}}]},
  "Pair": {"type": "object", "required": ["prompt", "response_a", "response_b"], "properties": {
    "id": {"type": ["string", "number", "null"]},
    "prompt": {"$ref": "#/components/schemas/Turns"},
    "response_a": {"$ref": "#/components/schemas/Turns"},
    "response_b": {"$ref": "#/components/schemas/Turns"}}},
  "PairOrPairs": {"oneOf": [
    {"$ref": "#/components/schemas/Pair"},
    {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Pair"}}]},
  "Verdict": {"type": "object", "required": ["id", "verdict", "probabilities", "tokens", "truncated"], "properties": {
    "id": {"type": "string"},
    "verdict": {"enum": ["A", "B", "tie"]},
    "probabilities": {"type": "object", "required": ["A", "B", "tie"], "properties": {
      "A": {"type": "number"}, "B": {"type": "number"}, "tie": {"type": "number"}}},
    "rewards": {"type": "object", "description": "Of a reward", "properties": {
      "A": {"type": "number"}, "B": {"type": "number"}}},
    "tokens": {"type": "integer"},
    "truncated": {"type": "boolean"},
    "agrees": {"type": "boolean", "description": "Whether both orders led to the same outcome, where both were judged"}}},
  "VerdictOrVerdicts": {"oneOf": [
    {"$ref": "#/components/schemas/Verdict"}, {"type": "array", "items": {"$ref": "#/components/schemas/Verdict"}}]},

  "Text": {"oneOf": [{"type": "string"},
    {"type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}]},
  "Texts": {"anyOf": [{"$ref": "#/components/schemas/Text"},
    {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Text"}}]},
  "Message": {"type": "object", "required": ["role", "content"], "properties": {
    "role": {"enum": ["system", "user", "assistant"]},
    "content": {"oneOf": [{"type": "string"}, {"type": "array", "items": {
      "type": "object", "required": ["text"], "properties": {"text": {"type": "string"}}}}]}}},
  "ClassifyRequest": {"type": "object", "properties": {
    "model": {"type": "string", "description": "Not read"},
    "input": {"description": "Texts that are written out, or, of a judge, pairs", "anyOf": [
      {"$ref": "#/components/schemas/Texts"}, {"$ref": "#/components/schemas/PairOrPairs"}]},
    "messages": {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/Message"},
      "description": "A conversation that ends with the answer, or, of a judge, with two messages of the assistant: A and B"},
    "use_activation": {"type": ["boolean", "null"]}},
    "oneOf": [{"required": ["input"]}, {"required": ["messages"]}]},
  "Usage": {"type": "object", "required": ["prompt_tokens", "total_tokens"], "properties": {
    "prompt_tokens": {"type": "integer"}, "total_tokens": {"type": "integer"}, "completion_tokens": {"type": "integer"},
    "prompt_tokens_details": {"type": "null"}}},
  "ClassifyAnswer": {"type": "object", "required": ["id", "object", "created", "model", "data", "usage"], "properties": {
    "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
    "data": {"type": "array", "items": {"type": "object", "required": ["index", "label", "probs", "num_classes"], "properties": {
      "index": {"type": "integer"}, "label": {"type": "string"},
      "probs": {"type": "array", "items": {"type": "number"}}, "num_classes": {"type": "integer"}}}},
    "usage": {"$ref": "#/components/schemas/Usage"}}},
  "PoolingAnswer": {"type": "object", "required": ["id", "object", "created", "model", "data", "usage"], "properties": {
    "id": {"type": "string"}, "object": {"const": "list"}, "created": {"type": "integer"}, "model": {"type": "string"},
    "data": {"type": "array", "items": {"type": "object", "required": ["index", "object", "data"], "properties": {
      "index": {"type": "integer"}, "object": {"const": "pooling"}, "data": {"type": "array", "items": {"type": "number"}}}}},
    "usage": {"$ref": "#/components/schemas/Usage"}}},

  "PredictRequest": {"type": "object", "required": ["inputs"], "properties": {
    "inputs": {"anyOf": [{"type": "string"},
      {"type": "array", "minItems": 1, "items": {"type": "string"}},
      {"type": "array", "minItems": 1, "items": {"type": "array", "minItems": 1, "maxItems": 3, "items": {"type": "string"}}}],
      "description": "A sequence, or a list of them: a text that is written out; of a reward prompt and response; of a judge prompt, A and B"},
    "raw_scores": {"type": ["boolean", "null"]}}},
  "Prediction": {"type": "object", "required": ["score", "label"], "properties": {
    "score": {"type": "number"}, "label": {"type": "string"}}},
  "PredictAnswer": {"oneOf": [
    {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}},
    {"type": "array", "items": {"type": "array", "items": {"$ref": "#/components/schemas/Prediction"}}}]},

  "RerankRequest": {"type": "object", "required": ["query", "documents"], "properties": {
    "model": {"type": "string", "description": "Not read"},
    "query": {"$ref": "#/components/schemas/Texts"},
    "documents": {"$ref": "#/components/schemas/Texts"},
    "top_n": {"type": ["integer", "null"], "minimum": 1},
    "return_documents": {"type": ["boolean", "null"]}}},
  "RerankAnswer": {"type": "object", "required": ["model", "results"], "properties": {
    "model": {"type": "string"},
    "results": {"type": "array", "items": {"type": "object", "required": ["index", "relevance_score"], "properties": {
      "index": {"type": "integer"}, "relevance_score": {"type": "number"},
      "document": {"type": "object", "properties": {"text": {"type": "string"}}}}}}}},
  "ScoreRequest": {"type": "object", "required": ["text_1", "text_2"], "properties": {
    "model": {"type": "string", "description": "Not read"},
    "text_1": {"$ref": "#/components/schemas/Texts", "description": "A prompt, or one for each answer"},
    "text_2": {"$ref": "#/components/schemas/Texts", "description": "The answers"}}},
  "ScoreAnswer": {"type": "object", "required": ["object", "model", "data"], "properties": {
    "object": {"const": "list"}, "model": {"type": "string"},
    "data": {"type": "array", "items": {"type": "object", "required": ["index", "object", "score"], "properties": {
      "index": {"type": "integer"}, "object": {"const": "score"}, "score": {"type": "number"}}}}}},

  "RewardedAnswers": {"type": "object", "required": ["prompt", "response"], "properties": {
    "prompt": {"$ref": "#/components/schemas/Texts"},
    "response": {"$ref": "#/components/schemas/Texts"},
    "reference": {"$ref": "#/components/schemas/Texts", "description": "A judge compares the response with it; a reward does not read it"}}},
  "GetRewardRequest": {"anyOf": [
    {"$ref": "#/components/schemas/RewardedAnswers"},
    {"type": "array", "minItems": 1, "items": {"$ref": "#/components/schemas/RewardedAnswers"}},
    {"type": "object", "required": ["query"], "properties": {"query": {"$ref": "#/components/schemas/Texts"}},
      "description": "Of a reward: conversations that are written out, as OpenRLHF sends them"}]},
  "GetRewardAnswer": {"type": "object", "required": ["rewards", "scores", "extra_logs"], "properties": {
    "rewards": {"type": "array", "items": {"type": "number"}}, "scores": {"type": "array", "items": {"type": "number"}},
    "extra_logs": {"type": "object"}}},

  "Models": {"type": "object", "required": ["object", "data"], "properties": {
    "object": {"const": "list"},
    "data": {"type": "array", "items": {"type": "object", "required": ["id", "object", "created", "owned_by"], "properties": {
      "id": {"type": "string"}, "object": {"const": "model"}, "created": {"type": "integer"}, "owned_by": {"type": "string"}}}}}},
  "Health": {"type": "object", "required": ["status"], "properties": {"status": {"const": "ok"}}},
  "OpenApi": {"type": "object", "required": ["openapi", "info", "paths"]}
})";

}  // namespace

nlohmann::ordered_json openapi_schemas() {
  return nlohmann::ordered_json::parse(kSchemas);
}

}  // namespace gavel
