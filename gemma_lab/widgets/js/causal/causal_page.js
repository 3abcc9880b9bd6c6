// The explorer of a causal map in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./causal.js";

openPage(render, (message) => (message.type === "show" ? [`part-${message.part}`] : []));
