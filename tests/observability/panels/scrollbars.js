// In Node's reading of an old module's default export, which esbuild follows where a .mjs asks, it is an object around it.
export { Scrollbars as default } from "./node_modules/react-custom-scrollbars-2/lib/index.js";
