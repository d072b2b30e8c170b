#pragma once
#include "spec/config_keys.h"
#include "spec/rope.h"

namespace gavel {

/** The rope of a config.json as transformers reads it: rope_scaling where it is there and not empty, else rope_parameters,
 * else the plain one; with rope_theta at top level where the object has none, else `default_theta`. Throws Error naming the
 * key for a type that is unknown or lacks what it needs, for ropes that turn a part of the head's features, and for an
 * object with a rope for each kind of layer (a family with such ropes reads them by read_rope_parameters). */
RopeSpec read_rope(const ConfigKeys& config, double default_theta);

/** The rope that one object of `config` describes, as above. */
RopeSpec read_rope_parameters(const ConfigKeys& config, const ConfigKeys& parameters, double default_theta);

/** The object that read_rope_parameters reads, with the theta. */
ConfigKeys::Json rope_json(const RopeSpec& rope);

/** Throws Error for numbers out of range; `name` stands for the file in it. */
void check_rope(const RopeSpec& rope, int64_t head_dim, const std::string& name);

}  // namespace gavel
