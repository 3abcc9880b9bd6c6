// The explorer of a comparison in a file of its own.
import { openPage } from "../shared/saved_page.js";
import { render } from "./versus.js";

openPage(render, (message) => (message.type === "show" ? [`prompt-${message.prompt}`] : []));
