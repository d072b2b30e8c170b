#pragma once
#include <cstdint>

namespace gavel {

/** What data.max_cell_bytes is where nobody says: far beyond any text that a model reads. */
inline constexpr int64_t kMostCellBytes = int64_t{64} << 20;

// Choices of a recipe's section `data`. How they are spelled there stands in recipe/fields.cpp.

/** The columns of a file. */
enum class Format : uint8_t {
  kLmsys,  // id, prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie
  kWsdm,   // id, prompt, response_a, response_b, winner (model_a | model_b | tie); cells are plain text
  /** id, prompt, chosen, rejected: answer A is the chosen one and wins. Each is a text, or in JSON and Parquet also a list of
   * messages {"role", "content"}; chosen and rejected may then be whole conversations, and prompt may be absent. */
  kChosen,
  kGeneric,  // as ReadOptions::columns says
  /** id, prompt, responses, and scores or ranks (1 = best), a number for each: becomes all pairs of its answers. Or instruction
   * and completions, as UltraFeedback has them: objects with response and overall_score. JSONL and Parquet. */
  kRanked,
  /** context, response1, response2, overall_preference: from -3 (response1 is much better) to 3, as HelpSteer3 has it. */
  kHelpSteer3,
  kScored,  // id, prompt, response, score: one answer with a number
  /** id (or question_id), conversation_a, conversation_b, winner: whole conversations, lists of messages or their JSON in a text,
   * with the same messages of the user, as the Chatbot Arena's files have it. */
  kConversations,
};

/** How a text cell becomes turns. */
enum class Cells : uint8_t {
  kJson,   // a list of strings and nulls in JSON, or as Python or NumPy print it; a null turn is an empty string
  kSplit,  // the reference notebook's way: strip [ and ], split on ",", strip quotes; escapes stay literal
  kText,   // the whole cell is one turn
};

/** What gives way when a text has more than max_length tokens. */
enum class Truncation : uint8_t {
  kRight,  // the end of the text (Hugging Face's truncation_side "right")
  kLeft,   // the start of the text
  /** The template's own words stay. The oldest rounds are dropped whole; if that is not enough, prompt, A and B keep
   * their beginnings in shares (EncodeOptions::proportional_shares), and what one leaves free goes to the others. */
  kProportional,
};

/** How rows are put into sequences. */
enum class Batching : uint8_t {
  kPadded,    // one row a sequence, all sequences of one length
  kBucketed,  // rows of like length together, sequence lengths from a small fixed set
  kPacked,    // several rows a sequence, told apart by segment ids
};

/** Whether A and B are exchanged. */
enum class Swap : uint8_t {
  kNone,
  kRandom,  // each row as it is or with A and B exchanged, drawn anew each epoch
  kBoth,    // each row both ways, both in the same optimizer step (an epoch is twice as long)
};

/** The order in which training meets its rows for the first time. */
enum class Curriculum : uint8_t {
  kNone,    // at random
  kLength,  // from short to long: Platanios et al., "Competence-based Curriculum Learning", 2019
};

}  // namespace gavel
