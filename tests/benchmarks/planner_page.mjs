// Draw the planner's panels for random settings on a document of plain objects, and print the processor time
// of each update in milliseconds. Layout and painting by a browser are not part of it.

import { readFileSync } from "node:fs";
import { argv, cpuUsage, stdout } from "node:process";

class Node {
  constructor() {
    this.children = [];
    this.attributes = new Map();
    this.style = {};
    this.className = "";
  }
  setAttribute(name, value) {
    this.attributes.set(name, value);
  }
  addEventListener() {}
  append(...children) {
    this.children.push(...children);
  }
  replaceChildren(...children) {
    this.children = children;
  }
}
globalThis.document = { createElement: () => new Node(), createElementNS: () => new Node() };

const [folder, input] = argv.slice(2);
const part = (name) => import(`${folder}/${name}.js`);
const { choicesOf } = await part("choices");
const panels = [
  (await part("memory_panel")).drawMemory,
  (await part("speed_panel")).drawSpeed,
  (await part("cost_panel")).drawCost,
];
const { facts, states } = JSON.parse(readFileSync(input, "utf-8"));
const update = (state) => {
  const choices = choicesOf(facts, state);
  const nodes = panels.map(() => new Node());
  panels.forEach((draw, index) => {
    draw(nodes[index], choices, facts, state);
  });
  return nodes;
};
for (const state of states.slice(0, 20)) update(state); // compiled
const times = states.map((state) => {
  const before = cpuUsage();
  const nodes = update(state);
  const { user, system } = cpuUsage(before);
  if (nodes.some((node) => !node.children.length)) throw new Error(`nothing drawn for ${JSON.stringify(state)}`);
  return (user + system) / 1000;
});
stdout.write(JSON.stringify(times));
