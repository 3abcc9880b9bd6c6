// One look in a file of its own.
import { render } from "./explorer.js";
import { openPage } from "./packed.js";

openPage(render, ({ type }) => type);
