// Here because the toolchain is: modules are looked for beside the file that imports them.
export { componentize } from "@bytecodealliance/componentize-js";
