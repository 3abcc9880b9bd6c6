// Numbers with their units, as text.

/**
 * Format a whole number with separators of thousands.
 * @param {number} value
 */
export function number(value) {
  return value.toLocaleString("en");
}

/**
 * Format a share, 0 … 1, as a percentage of two digits or so.
 * @param {number} share
 */
export function percentage(share) {
  const value = 100 * share;
  return `${value >= 9.95 || value === 0 ? Math.round(value) : value.toPrecision(2)} %`;
}

/**
 * Format an attention weight, 0 … 1, as a percentage of two or three digits.
 * @param {number} weight
 */
export function weightPercentage(weight) {
  const value = 100 * weight;
  if (value === 0) return "0 %";
  if (value >= 99.95) return "100 %";
  if (value >= 10) return `${value.toFixed(1)} %`;
  return value >= 0.01 ? `${value.toPrecision(2)} %` : "< 0.01 %";
}

/**
 * Format a distance in tokens, with a digit after the point below 100.
 * @param {number} tokens
 */
export function distance(tokens) {
  return `${tokens < 100 ? tokens.toFixed(1) : number(Math.round(tokens))} tokens`;
}
