// @ts-check
// The planner in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./planner.js";

openPage(render, () => []);
