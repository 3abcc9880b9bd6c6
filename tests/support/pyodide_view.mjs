// Use the package in Pyodide, Python for WebAssembly as in JupyterLite; prints one line of JSON.
//
//     node pyodide_view.mjs NUMPY,PYARROW,… REPOSITORY PYODIDE [PURE …]
//
// PYODIDE is the folder of a Pyodide: npm's has Python alone, the full distribution the packages named first, too.
// PURE are folders of packages in pure Python, which it does not have and JupyterLite gets from the index.
import { existsSync, readFileSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [wanted, ...paths] = process.argv.slice(2);
const [repository, folder, ...pure] = paths.map((path) => resolve(path));
const { loadPyodide } = await import(pathToFileURL(join(folder, "pyodide.mjs")).href);
const printed = [];
const pyodide = await loadPyodide({ indexURL: folder, stdout: (line) => printed.push(line) });
const { packages } = JSON.parse(readFileSync(join(folder, "pyodide-lock.json"), "utf8"));
const full = existsSync(join(folder, packages.numpy.file_name));
if (full) await pyodide.loadPackage(wanted.split(","), { messageCallback: () => {} });
pyodide.FS.mkdirTree("/repository");
pyodide.mountNodeFS("/repository", repository);
for (const path of pure) {
  pyodide.FS.mkdirTree(`/pure/${basename(path)}`);
  pyodide.mountNodeFS(`/pure/${basename(path)}`, path);
}
pyodide.runPython(`
import json, pathlib, platform, sys, warnings
sys.path[:0] = ["/repository"]
sys.path.append("/pure")
warnings.simplefilter("error")
for path in sorted(pathlib.Path("/repository/gemma_lab").rglob("*.py")):
    compile(path.read_text("utf-8"), str(path), "exec")
warnings.simplefilter("default")
before = set(sys.modules)
import gemma_lab as gl
imported = {name.partition(".")[0] for name in set(sys.modules) - before}
plan = gl.plan("26B-A4B", hardware="RTX 3090", quantization="q4_0")
report = {
    "system": sys.platform,
    "machine": platform.machine(),
    "python": platform.python_version(),
    "imported": sorted(imported - sys.stdlib_module_names),
    "plan_bytes": int(plan.needed_bytes),
    "fits": plan.fits,
}
`);
if (full) {
  pyodide.runPython(`
import runpy
sys.argv = ["view_install.py"]
runpy.run_path("/repository/tests/support/view_install.py", run_name="__main__")
`);
}
pyodide.runPython("print(json.dumps(report))");
const report = JSON.parse(printed.pop());
console.log(JSON.stringify({ ...report, view: full ? JSON.parse(printed.pop()) : null }));
