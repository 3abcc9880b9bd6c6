// The images of a prompt: they are sent as bytes and decoded here, so that no address is ever loaded.

/** @import { ImageEntry } from "./wire_types.js" */
/** @typedef {{ width: number, height: number, bitmap: ImageBitmap | null }} OpenImage */

/**
 * Return the sizes of images at once; `decoded` is called when their pixels have been decoded.
 * @param {ImageEntry[]} entries
 * @param {() => void} decoded
 * @returns {OpenImage[]}
 */
export function openImages(entries, decoded) {
  /** @type {OpenImage[]} */
  const images = entries.map(({ width, height }) => ({ width, height, bitmap: null }));
  const decoding = entries.map(async ({ bytes }, at) => {
    images[at].bitmap = await createImageBitmap(new Blob([bytes])).catch(() => null);
  });
  if (entries.length) Promise.all(decoding).then(decoded);
  return images;
}
