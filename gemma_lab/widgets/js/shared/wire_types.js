// What goes between Python and the browser, as types. gemma_lab/widgets/shared/wire_types.py holds the same
// tables, and tests/widgets/shared/test_wire_types.py compares the two with what the widgets send.

/** @import { Facts } from "../planner/arithmetic.js" */

/**
 * A buffer as Python's binary traits and messages carry it.
 * @typedef {DataView<ArrayBuffer>} Buffer
 */

/**
 * The meta values and the dimensions of every array, beside the arrays of a buffer.
 * @template Meta
 * @typedef {{ meta: Meta, shapes: Record<string, number[]> }} Unpacked
 */

/**
 * Tokens: `box` holds four, `time_ms` two numbers per media token; from `draw_tokens` on, one value per generated
 * token, of which NaN is no grammar.
 * @typedef {object} TokenArrays
 * @property {Uint8Array} text
 * @property {Uint32Array} text_ends
 * @property {Uint8Array} label
 * @property {Uint32Array} label_ends
 * @property {Uint8Array} modality
 * @property {Uint8Array} role
 * @property {Uint8Array} script
 * @property {Uint8Array} direction
 * @property {Uint8Array} generated
 * @property {Int32Array} cluster
 * @property {Uint32Array} media_tokens
 * @property {Int16Array} media_index
 * @property {Int32Array} box
 * @property {Int32Array} time_ms
 * @property {Int16Array} frame
 * @property {Uint32Array} [draw_tokens]
 * @property {Float32Array} [logprob]
 * @property {Float32Array} [forbidden]
 * @property {Uint8Array} [overruled]
 * @property {Uint8Array} [drafted]
 * @property {Uint8Array} [first_choice]
 * @property {Uint32Array} [first_choice_ends]
 */
/**
 * @typedef {object} TokenMeta
 * @property {number} start
 * @property {number} count
 * @property {string[]} modalities
 * @property {string[]} roles
 * @property {string[]} scripts
 * @property {string[]} directions
 */
/** @typedef {TokenArrays & Unpacked<TokenMeta>} TokenBuffer */

/**
 * Tokens served by each expert, and each expert's scale: [layers, experts].
 * @typedef {object} LoadArrays
 * @property {Uint32Array} token_counts
 * @property {Float32Array} expert_scale
 */
/**
 * @typedef {object} LoadMeta
 * @property {number} tokens
 */
/** @typedef {LoadArrays & Unpacked<LoadMeta>} LoadBuffer */

/**
 * The routing of some layers: [layers, tokens, k] ids and gate weights, [layers, tokens] facets.
 * @typedef {object} LayerArrays
 * @property {Uint16Array} layer_indices
 * @property {Uint8Array | Uint16Array} expert_ids
 * @property {Uint16Array} gate_weights
 * @property {Uint16Array} entropy
 * @property {Uint16Array} expert_fraction
 */
/**
 * @typedef {object} LayerMeta
 * @property {number} start
 * @property {number} count
 */
/** @typedef {LayerArrays & Unpacked<LayerMeta>} LayerBuffer */

/**
 * A thumbnail of every head, [layers × heads, side, side], and its means, [measures, layers × heads].
 * @typedef {object} GridArrays
 * @property {Uint8Array} thumbnails
 * @property {Float32Array} means
 */
/**
 * @typedef {object} GridMeta
 * @property {number} side
 * @property {string[]} measures
 */
/** @typedef {GridArrays & Unpacked<GridMeta>} GridBuffer */

/**
 * One layer's maps, [heads, bins, bins], first-token weights, [heads, bins], ends of the scales, [heads].
 * @typedef {object} MapArrays
 * @property {Uint8Array} maps
 * @property {Uint16Array} first_token
 * @property {Float32Array} scale_max
 */
/**
 * @typedef {object} MapMeta
 * @property {number} layer_index
 */
/** @typedef {MapArrays & Unpacked<MapMeta>} MapBuffer */

/**
 * Top keys, [heads, queries, k], and statistics, [heads, queries], of a chunk of queries; what was not
 * recorded is absent.
 * @typedef {object} KeyArrays
 * @property {Uint16Array | Uint32Array} [keys]
 * @property {Uint16Array} [key_weights]
 * @property {Uint16Array} [entropy]
 * @property {Uint16Array} [distance]
 * @property {Uint16Array} [first_token]
 * @property {Uint8Array} [mass]
 */
/**
 * @typedef {object} KeyMeta
 * @property {number} layer_index
 * @property {number} start
 * @property {number} count
 * @property {number} k
 * @property {string[]} labels
 */
/** @typedef {KeyArrays & Unpacked<KeyMeta>} KeyBuffer */

/**
 * Full rows of one layer: an array `row_<query>` of [heads, keys] per query.
 * @typedef {{ [name: `row_${number}`]: Uint16Array }} RowArrays
 */
/**
 * @typedef {object} RowMeta
 * @property {number} layer_index
 */
/** @typedef {RowArrays & Unpacked<RowMeta>} RowBuffer */

/**
 * The summary of the rows behind the tokens: mean attention, heaviest edges, experts, logit lens.
 * @typedef {object} SummaryArrays
 * @property {Uint32Array} rows
 * @property {Uint32Array} [keys]
 * @property {Uint16Array} [key_weights]
 * @property {Uint32Array} [top_edges]
 * @property {Uint16Array} [edge_weights]
 * @property {Uint16Array} [expert_ids]
 * @property {Uint16Array} [expert_weights]
 * @property {Uint32Array} [lens_positions]
 * @property {Uint32Array} [top_words]
 * @property {Uint16Array} [probabilities]
 * @property {Uint32Array} [final_ranks]
 * @property {Uint32Array} [feature_ids]
 * @property {Uint16Array} [feature_values]
 */
/**
 * @typedef {object} SummaryMeta
 * @property {{ layers: number[], kinds: string[], heads: number[] }} [attention]
 * @property {{ layers: number[], experts: number, scale_max: number }} [routing]
 * @property {{ layers: number[], words: string[], k: number, kind?: string }} [logit_lens]
 * @property {FeatureFacts} [features]
 */
/** @typedef {SummaryArrays & Unpacked<SummaryMeta>} SummaryBuffer */
/**
 * The fit of a sparse autoencoder, how many of its features are sent of each token, and the largest activation.
 * @typedef {{
 *   sae: string, layer: number, count: number, explained: number | null, least: number, fits: boolean,
 *   top: number, kept: number, recorded: number,
 * }} FeatureFacts
 */

/**
 * An image of the prompt: the size of the original, and a copy as PNG.
 * @typedef {{ width: number, height: number, bytes: Buffer }} ImageEntry
 */
/** @typedef {{ what?: string, hint?: string, count?: number }} Notice */
/** @typedef {{ view?: string, seq?: number }} Ack */

/**
 * A token of an answer: text, log-probability, kind, entropy in nats, alternatives, rank among them or -1, the
 * effect of a grammar, whether a drafter's proposal was accepted.
 * @typedef {[
 *   text: string, logprob: number | null, kind: string, entropy: number | null,
 *   alternatives: [text: string, logprob: number | null][], rank: number,
 *   effect: [forbidden: number, firstChoice: string, changed: boolean] | null, drafted: boolean | null
 * ]} AnswerToken
 */
/**
 * @typedef {object} Turn
 * @property {number} key
 * @property {"user" | "model"} role
 * @property {"live" | "done" | "failed"} [state]
 * @property {string} text
 * @property {MediaEntry[]} media
 * @property {AnswerToken[]} tokens
 * @property {string} [finish_reason]
 * @property {number | null} [seed]
 * @property {number} [context]
 * @property {number | null} [speed]
 * @property {{ what: string, hint: string }} [error]
 * @property {unknown} [value] The value of an answer bound by a schema.
 * @property {{ what: string, hint: string }} [invalid] Why the value is not complete.
 * @property {string} [note]
 */
/**
 * A tool call; its state is "queued", "waiting", "running" or the status of its execution.
 * @typedef {object} CallCard
 * @property {string} id
 * @property {string} name
 * @property {string} source The name of an MCP server, or "".
 * @property {string} arguments JSON text.
 * @property {string} state
 * @property {boolean} edited
 * @property {string} problem Why edited arguments were refused.
 * @property {string} result JSON text, or an error in words.
 * @property {number} seconds
 */
/**
 * @typedef {object} ChatFacts
 * @property {string} name
 * @property {number} context
 * @property {string[]} modalities
 * @property {boolean} drafter Whether a drafter proposes tokens.
 * @property {{ name: string, description: string }[]} tools
 * @property {boolean} decides Whether a function of Python decides about calls.
 * @property {string} schema The name of the schema that binds every answer, or "".
 * @property {number} timeout Seconds per call.
 */
/**
 * @typedef {object} ImagePreview
 * @property {string} id
 * @property {"image"} kind
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {string} src
 */
/**
 * @typedef {object} VideoPreview
 * @property {string} id
 * @property {"video"} kind
 * @property {string} name
 * @property {number} width
 * @property {number} height
 * @property {[src: string, seconds: number][]} frames
 * @property {number} seen
 * @property {number} total
 */
/** @typedef {{ id: string, kind: "audio", name: string, seconds: number, peaks: number[] }} AudioPreview */
/** @typedef {ImagePreview | VideoPreview | AudioPreview} MediaEntry */

/**
 * @typedef {object} ChatSettings
 * @property {number} temperature
 * @property {number} top_p
 * @property {number} top_k
 * @property {number} max_new_tokens
 * @property {number | null} seed
 * @property {boolean} thinking
 * @property {string} system
 * @property {string} tint
 * @property {string[]} ask Tools whose calls wait for a decision.
 */
/**
 * @typedef {object} ChatTraits
 * @property {Turn[]} turns
 * @property {ChatSettings} settings
 * @property {boolean} busy
 * @property {MediaEntry[]} _attachments
 * @property {{ text?: string, count?: number }} _returned
 * @property {Record<string, CallCard[]>} _calls By the key of the turn.
 * @property {ChatFacts} _facts
 * @property {Notice} _notice
 */
/**
 * @typedef {object} RoutingFacts
 * @property {number} epoch
 * @property {string} name
 * @property {number[]} layers
 * @property {number} experts
 * @property {number} top_k
 * @property {number} scale_max
 * @property {boolean} prefetch
 * @property {string} precision
 */
/** @typedef {[text: string, changed: boolean][]} AnswerSide */
/**
 * @typedef {object} Comparison
 * @property {"running" | "done"} [state]
 * @property {string} [edit]
 * @property {[layer: number, expert: number][]} [experts]
 * @property {boolean} [showing_edited]
 * @property {AnswerSide} [before]
 * @property {AnswerSide} [after]
 * @property {string} [note]
 */
/**
 * @typedef {object} RoutingTraits
 * @property {number} layer
 * @property {number[]} selected_tokens
 * @property {number[]} selected_experts
 * @property {boolean} busy
 * @property {RoutingFacts} _facts
 * @property {Buffer} _tokens
 * @property {Buffer} _loads
 * @property {Buffer} _layers
 * @property {ImageEntry[]} _images
 * @property {Comparison} _comparison
 * @property {boolean} _can_run
 * @property {Ack} _ack
 * @property {Notice} _notice
 */
/**
 * @typedef {object} LayerLayout
 * @property {number} layer
 * @property {string} kind
 * @property {number | null} window
 * @property {number} heads
 * @property {number} kv_heads
 * @property {number | null} kv_shared_from
 * @property {boolean} k_eq_v
 */
/**
 * @typedef {object} AttentionFacts
 * @property {string} name
 * @property {number} tokens
 * @property {number[]} bin_edges
 * @property {LayerLayout[]} layers
 * @property {number[]} heads
 * @property {number} chunk
 */
/**
 * @typedef {object} SideEntry
 * @property {AttentionFacts} facts
 * @property {Buffer} tokens
 * @property {Buffer} grid
 * @property {Buffer | null} maps
 * @property {Buffer | null} keys
 * @property {ImageEntry[]} images
 */
/**
 * @typedef {object} AttentionTraits
 * @property {number} layer
 * @property {number} head
 * @property {number[]} selected_tokens
 * @property {boolean} busy
 * @property {SideEntry[]} _sides
 * @property {boolean} _can_run
 * @property {Ack} _ack
 * @property {Notice} _notice
 */
/**
 * @typedef {object} ExplorerFacts
 * @property {number} epoch
 * @property {string} name
 * @property {number} tokens
 * @property {number} answer_start
 * @property {string[]} records
 */
/**
 * @typedef {object} ExplorerTraits
 * @property {number[]} selected_tokens
 * @property {number} feature
 * @property {number} strength
 * @property {boolean} busy
 * @property {{ name?: string, max?: number, step?: number }} _steering
 * @property {ExplorerFacts} _facts
 * @property {Buffer} _tokens
 * @property {Buffer} _summary
 * @property {ImageEntry[]} _images
 * @property {boolean} _can_run
 * @property {Ack} _ack
 * @property {Notice} _notice
 */
/**
 * A finding of a scan: its number, its null, and the tokens that show it.
 * @typedef {{
 *   name: string, title: string, result: string, null: string, tokens: number[], tested: boolean,
 * }} Finding
 */
/** @typedef {ExplorerTraits & { _findings: Finding[] }} ScanTraits */
/**
 * The compared tokens of one prompt: `kl` in nats, NaN inside the prompt; per layer with experts the rest, in
 * steps of 1/65535: [layers, tokens], and [layers, tokens, k] ids and gate weights of both models.
 * @typedef {object} VersusArrays
 * @property {Uint8Array} text
 * @property {Uint32Array} text_ends
 * @property {Uint8Array} generated
 * @property {Float32Array} kl
 * @property {Uint16Array} [flipped]
 * @property {Uint16Array} [weight]
 * @property {Uint16Array} [first_ids]
 * @property {Uint16Array} [first_weights]
 * @property {Uint16Array} [second_ids]
 * @property {Uint16Array} [second_weights]
 */
/**
 * The likeliest next tokens of both models at a row that predicts a token of the answer, which is `next`.
 * @typedef {{ row: number, next: string, sides: [text: string, probability: number][][] }} TopTokens
 */
/**
 * @typedef {object} VersusMeta
 * @property {number} start
 * @property {number[]} layers
 * @property {TopTokens[]} tops
 */
/** @typedef {VersusArrays & Unpacked<VersusMeta>} VersusBuffer */
/**
 * @typedef {object} VersusFacts
 * @property {number} epoch
 * @property {string[]} names
 * @property {{ index: number, label: string }[]} prompts
 * @property {{ kl: number, flipped: number, weight: number }} rounding
 * @property {number | null} chance
 */
/**
 * @typedef {object} VersusTraits
 * @property {number} prompt
 * @property {number} layer
 * @property {number[]} selected_tokens
 * @property {boolean} busy
 * @property {VersusFacts} _facts
 * @property {Buffer} _cells
 * @property {boolean} _can_run
 * @property {Ack} _ack
 * @property {Notice} _notice
 */
/**
 * The cells of one part of a causal map, [layers, columns]: effects in nats and p values, NaN where there are
 * none; by column whether the prompts differ there, and the largest effect by chance.
 * @typedef {object} CausalArrays
 * @property {Uint8Array} text
 * @property {Uint32Array} text_ends
 * @property {Uint8Array} differs
 * @property {Float32Array} effects
 * @property {Float32Array} p
 * @property {Float32Array} thresholds
 */
/**
 * @typedef {object} CausalMeta
 * @property {string} part
 * @property {number[]} layers
 */
/** @typedef {CausalArrays & Unpacked<CausalMeta>} CausalBuffer */
/**
 * What one run computes where the answer is predicted: next tokens with probabilities; by layer the lens's
 * first token and the probability of the answer.
 * @typedef {{
 *   name: string,
 *   top: [text: string, probability: number][],
 *   lens: [layer: number, text: string, probability: number][],
 * }} CausalRun
 */
/** @typedef {{ part?: string, cell?: number[], label: string, sides?: CausalRun[] }} OpenedCell */
/**
 * @typedef {object} CausalFacts
 * @property {string} model
 * @property {string} patching
 * @property {string} method
 * @property {string} answer
 * @property {number} clean
 * @property {number} corrupted
 * @property {number} draws
 * @property {string[]} parts
 */
/**
 * @typedef {object} CausalTraits
 * @property {string} part
 * @property {number[]} cell
 * @property {boolean} busy
 * @property {CausalFacts} _facts
 * @property {Buffer} _cells
 * @property {OpenedCell} _opened
 * @property {boolean} _can_run
 * @property {Ack} _ack
 * @property {Notice} _notice
 */
/**
 * @typedef {object} PlannerTraits
 * @property {string[]} models
 * @property {string} hardware
 * @property {string} quantization
 * @property {string} runtime
 * @property {string} cache
 * @property {number} context
 * @property {number} batch
 * @property {string} runtime_date
 * @property {Record<string, number>} ownership
 * @property {number} prompt_per_answer
 * @property {string} day
 * @property {boolean} busy
 * @property {Facts} _facts
 * @property {Notice} _notice
 */

/**
 * Messages of the views.
 * @typedef {{ type: "ask", text: string }
 *   | { type: "stop" }
 *   | { type: "clear" }
 *   | { type: "regenerate" }
 *   | { type: "change_settings", settings: Partial<ChatSettings> }
 *   | { type: "upload", id: string, name: string, mime: string, part: number, parts: number }
 *   | { type: "play_audio", id: string }
 *   | { type: "remove_attachment", id: string }
 *   | { type: "resume" }
 *   | { type: "decide", call: string, decision: string, always: boolean }
 *   | { type: "edit", call: string, arguments: string }} ChatMessage
 */
/**
 * @typedef {{ type: "layers", layer_indices: number[] }
 *   | { type: "select", view: string, seq: number, layer: number, tokens: number[], experts: number[] }
 *   | { type: "ask", text: string }
 *   | { type: "ablate", layer: number, experts: number[] }
 *   | { type: "restore" }
 *   | { type: "show_edited", edited: boolean }
 *   | { type: "stop" }
 *   | { type: "resume" }} RoutingMessage
 */
/**
 * @typedef {{ type: "maps", side: number, layer_index: number }
 *   | { type: "keys", side: number, layer_index: number, start: number }
 *   | { type: "rows", side: number, layer_index: number }
 *   | { type: "fetch", side: number, layer_index: number, queries: number[] }
 *   | { type: "select", view: string, seq: number, layer: number, head: number, tokens: number[] }
 * } AttentionMessage
 */
/**
 * @typedef {{ type: "select", view: string, seq: number, tokens: number[], feature: number }
 *   | { type: "steer", strength: number }
 *   | { type: "ask", text: string }} ExplorerMessage
 */
/**
 * @typedef {{ type: "select", view: string, seq: number, layer: number, tokens: number[] }
 *   | { type: "show", prompt: number }} VersusMessage
 */
/**
 * @typedef {{ type: "select", view: string, seq: number, cell: number[] }
 *   | { type: "show", part: string }
 *   | { type: "open", part: string, layer: number, column: number }} CausalMessage
 */
/**
 * @typedef {{ type: "set_values", values: Partial<PlannerState> }} PlannerMessage
 */
/** @typedef {Omit<PlannerTraits, "busy"|"_facts"|"_notice">} PlannerState The traits that a person can change. */

/**
 * The part of a Jupyter widget model that the views use.
 * @template Traits
 * @template Message
 * @typedef {{
 *   get<K extends keyof Traits>(name: K): Traits[K],
 *   send(message: Message, callbacks?: undefined, buffers?: ArrayBuffer[]): void,
 *   on(event: string, listener: (...values: any[]) => void): void,
 *   off(event: string, listener: (...values: any[]) => void): void,
 * }} WidgetModel
 */
/** @typedef {WidgetModel<ChatTraits, ChatMessage>} ChatModel */
/** @typedef {WidgetModel<RoutingTraits, RoutingMessage>} RoutingModel */
/** @typedef {WidgetModel<AttentionTraits, AttentionMessage>} AttentionModel */
/** @typedef {WidgetModel<ExplorerTraits, ExplorerMessage>} ExplorerModel */
/** @typedef {WidgetModel<ScanTraits, ExplorerMessage>} ScanModel */
/** @typedef {WidgetModel<VersusTraits, VersusMessage>} VersusModel */
/** @typedef {WidgetModel<CausalTraits, CausalMessage>} CausalModel */
/** @typedef {WidgetModel<PlannerTraits, PlannerMessage>} PlannerModel */

export {};
