// A scan in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./scan.js";

openPage(render, () => []);
