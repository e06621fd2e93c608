// What an editor makes of texts: reads `[text, ..]` as JSON from standard input and writes, for each, `[[piece, scopes], ..]`.
// Run by tests/it/editors.rs in a folder with the packages vscode-textmate and vscode-oniguruma.
const fs = require("fs");
const path = require("path");
const from = (name) => require(path.join(process.argv[3], "node_modules", name));
const { Registry, INITIAL, parseRawGrammar } = from("vscode-textmate");
const oniguruma = from("vscode-oniguruma");

async function main() {
    const wasm = path.join(process.argv[3], "node_modules/vscode-oniguruma/release/onig.wasm");
    await oniguruma.loadWASM(fs.readFileSync(wasm).buffer);
    const onigLib = Promise.resolve({
        createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
        createOnigString: (text) => new oniguruma.OnigString(text),
    });
    const file = process.argv[2];
    const loadGrammar = async () => parseRawGrammar(fs.readFileSync(file, "utf8"), file);
    const grammar = await new Registry({ onigLib, loadGrammar }).loadGrammar("source.vitx");
    const pieces = (text) => {
        let state = INITIAL;
        return text.split("\n").flatMap((line) => {
            const { tokens, ruleStack } = grammar.tokenizeLine(line, state);
            state = ruleStack;
            return tokens.map(({ startIndex, endIndex, scopes }) => [line.slice(startIndex, endIndex), scopes.join(" ")]);
        });
    };
    const texts = JSON.parse(fs.readFileSync(0, "utf8"));
    process.stdout.write(JSON.stringify(texts.map(pieces)));
}
main();
