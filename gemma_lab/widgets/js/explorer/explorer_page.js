// The combined explorer in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./explorer.js";

openPage(render, () => []);
