/**
 * What one vendor wants said differently in a request, as data of its own file. Nothing here knows a vendor by name, and
 * a vendor that names none of it gets the caller's own bytes. Spec: fidelity 8.
 */
import type { ModelAbilities } from '../src/contract/flow.ts';
import type { JsonObject } from '../src/contract/json.ts';

export type EffortRule = {
  /** Upstream models that it holds for; absent: all that no earlier rule took. */
  models?: RegExp;
  /** By the caller's value, `*` for the others: the vendor's own word, members to set in its place, or null to drop it. */
  values: Readonly<Record<string, string | JsonObject | null>>;
};

export type RequestQuirks = {
  /** Top-level parameters that have another name there. */
  renames?: Readonly<Record<string, string>>;
  /** Members that the vendor knows as its own, where the fate of unknown ones is to be dropped. */
  ownMembers?: readonly string[];
  /** Set where the caller did not say them. */
  defaults?: { models: RegExp; members: JsonObject };
  /** What `tool_choice: "required"` is called. */
  requiredChoice?: string;
  /** Models that cannot be made to call a tool, where the catalogue does not say. */
  unforceable?: RegExp;
  /** A temperature of 0 is sent as this. */
  zeroTemperature?: number;
  efforts?: readonly EffortRule[];
  /** True: the effort is sent as `reasoning: { effort }`. */
  nestsEffort?: boolean;
  /** True: `json_object` is refused unless the conversation says "json". */
  needsJsonWord?: boolean;
  /** Keywords that its reader of tool schemas does not take. */
  unknownKeywords?: readonly string[];
  /** The type of the tool that searches the web, in place of `web_search_options`. */
  webSearchTool?: string;
  /** Ids of tool calls must be letters and digits, exactly so many. */
  toolIdLength?: number;
  /** Files go as parts of this type. */
  filePart?: 'document_url';
  /** How reasoning of earlier answers goes back, where the catalogue does not say; by default as text. */
  reasoningHistory?: ModelAbilities['reasoningHistory'];
  /** The member that holds it as text; by default `reasoning_content`. */
  reasoningMember?: 'reasoning' | 'reasoning_content';
  /** True: an answer that called tools must have that member, be it empty. */
  demandsReasoning?: boolean;
};
