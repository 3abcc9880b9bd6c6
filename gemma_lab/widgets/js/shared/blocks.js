// The division of a text into blocks, which are drawn one by one, and into segments of one role, which fold.

/** @import { TokenStore } from "./token_store.js" */
/**
 * Tokens that are laid out together. `top` and `height` are in pixels; the height is an estimate until drawn.
 * @typedef {object} Block
 * @property {number} start
 * @property {number} stop
 * @property {boolean} isMedium
 * @property {string} role
 * @property {string} heading
 * @property {number} segment The first token of the tokens of one role in a row.
 * @property {number} height
 * @property {number} top
 */

const BLOCK = 90; // tokens of a block after which a line end closes it
const LONGEST = 220; // tokens of a block after which a word closes it
const FOLDED = 30; // pixels of a folded segment
const MEDIA = new Set(["image", "video", "audio"]);

/**
 * Add the blocks of the tokens that come after those of `blocks`: divided at line ends and turns, else at a word
 * after a while.
 * @param {TokenStore} store
 * @param {Block[]} blocks
 */
export function layOut(store, blocks) {
  let previous = blocks.at(-1)?.role;
  let segment = blocks.at(-1)?.segment ?? 0;
  for (let start = blocks.at(-1)?.stop ?? 0; start < store.count; ) {
    const stop = endOfBlock(store, start);
    const role = store.name("role", start);
    const isMedium = MEDIA.has(store.name("modality", start));
    const heading = role !== previous ? role : "";
    if (role !== previous) segment = start;
    const height = isMedium ? 200 : 22 * (1 + (stop - start) / 9);
    blocks.push({ start, stop, isMedium, role, heading, segment, height, top: 0 });
    previous = role;
    start = stop;
  }
}

/**
 * @param {TokenStore} store
 * @param {number} start
 */
function endOfBlock(store, start) {
  const modality = store.name("modality", start);
  const role = store.codes.role[start];
  const medium = store.positions.get(start)?.medium;
  const isMedium = MEDIA.has(modality);
  for (let at = start + 1; at < store.count; at++) {
    const here = store.name("modality", at);
    if (isMedium) {
      if (here !== modality || store.positions.get(at)?.medium !== medium) return at;
      continue;
    }
    if (MEDIA.has(here) || store.codes.role[at] !== role) return at;
    const lineEnds = store.texts[at - 1].endsWith("\n") && at - start > BLOCK;
    const wordBegins = store.texts[at].startsWith(" ") && at - start > LONGEST;
    if (lineEnds || wordBegins || at - start > 2 * LONGEST) return at;
  }
  return store.count;
}

/**
 * Return the height of a block in pixels; of a folded segment only the heading is left.
 * @param {Block} block
 * @param {Set<number>} folded The folded segments.
 */
export function heightOf({ segment, heading, start, height }, folded) {
  if (!folded.has(segment)) return height;
  return heading && start === segment ? FOLDED : 0;
}
