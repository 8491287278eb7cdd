import { createElement } from "react";
import { renderToStaticMarkup } from "react-dom/server";
import { describe, expect, it } from "vitest";
import Read from "./Read";

const html = (text: string): string => renderToStaticMarkup(createElement(Read, { text }));

describe("strangers' Markdown", () => {
  it("becomes lists in lists, tables, code and links of the web", () => {
    const found = html("1. a\n   - b\n\n| x | y |\n|---|---|\n| `1` | **2** |\n\n```py\nprint(1)\n```\n\n[here](https://example.org/a) ~~no~~");
    for (const part of ["<ol>", "<ul>", "<td><code>1</code></td>", "<strong>2</strong>", "print(1)", 'href="https://example.org/a"', "<del>no</del>"]) {
      expect(found).toContain(part);
    }
  });
  it("leads nowhere but to the web", () => {
    for (const url of ["javascript:alert(1)", "JaVaScRiPt:alert(1)", "java&#10;script:alert(1)", "data:text/html,x", "vbscript:x", "file:///a", "//evil.example", "#/settings", "/v1/tasks", "mailto:a@b.c"]) {
      expect(html(`[a](${url}) <${url}> [b][r]\n\n[r]: ${url}`), url).not.toContain("href");
    }
  });
  it("asks no other server for a picture", () => {
    expect(html("![a cat](https://evil.example/x.png?who) ![a][r]\n\n[r]: https://evil.example/y.png")).not.toMatch(/<img|evil/);
    expect(html("![a cat](https://evil.example/x.png)")).toContain("a cat");
  });
  it("makes no element of HTML, and loses none of its text", () => {
    for (const text of ["<script>window.hit=1</script>", "<img src=x onerror=window.hit=1>", "a <b onclick=x()>b</b>", "<iframe srcdoc='x'>", "<style>*{}</style>"]) {
      const found = html(text);
      expect(found, text).not.toMatch(/<(script|img|b |iframe|style)/);
      expect(found).toContain("&lt;");
    }
  });
  it("has no control and no heading of its own in the page", () => {
    expect(html("# big\n\n- [x] done\n- [ ] open")).toMatch(/^(?!.*<(input|h1)).*☑.*☐/s);
  });
  it("reads what is long and odd in no time", () => {
    for (const text of ["[".repeat(5_000), "*a ".repeat(5_000), "`".repeat(9_999), "> ".repeat(500), "![](".repeat(3_000), "- ".repeat(500)]) {
      const begun = performance.now();
      html(text);
      expect(performance.now() - begun, text.slice(0, 4)).toBeLessThan(2_000);
    }
  });
});
