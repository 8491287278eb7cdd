// Markdown of models and users as React elements: there is no way from a text to HTML. Links of the web alone.
import type { ReactNode } from "react";

export function Markdown({ text }: { text: string }): ReactNode {
  return <div className="markdown">{blocks(text)}</div>;
}

function blocks(text: string): ReactNode[] {
  const lines = text.replace(/\r\n?/g, "\n").split("\n");
  const found: ReactNode[] = [];
  let at = 0;
  while (at < lines.length) {
    const line = lines[at]!;
    const fence = /^\s*(```|~~~)/.exec(line);
    const heading = /^(#{1,6})\s+(.*)$/.exec(line);
    const item = /^\s*(?:[-*+]|(\d+)[.)])\s+(.*)$/.exec(line);
    const key = found.length;
    if (fence) {
      const begin = (at += 1);
      while (at < lines.length && !lines[at]!.trimStart().startsWith(fence[1]!)) at += 1;
      found.push(<pre key={key} tabIndex={0}><code>{lines.slice(begin, at).join("\n")}</code></pre>);
      at += 1;
    } else if (heading) {
      found.push(<p key={key}><strong>{inline(heading[2]!)}</strong></p>);
      at += 1;
    } else if (item) {
      const isNumbered = item[1] !== undefined;
      const pattern = isNumbered ? /^\s*\d+[.)]\s+(.*)$/ : /^\s*[-*+]\s+(.*)$/;
      const items: ReactNode[] = [];
      let match: RegExpExecArray | null;
      while (at < lines.length && (match = pattern.exec(lines[at]!))) {
        items.push(<li key={items.length}>{inline(match[1]!)}</li>);
        at += 1;
      }
      found.push(isNumbered ? <ol key={key} start={Number(item[1])}>{items}</ol> : <ul key={key}>{items}</ul>);
    } else if (!line.trim()) at += 1;
    else {
      const begin = at;
      while (at < lines.length && lines[at]!.trim() && (at === begin || !/^\s*(```|~~~|#{1,6}\s|[-*+]\s|\d+[.)]\s)/.test(lines[at]!))) at += 1;
      found.push(<p key={key}>{inline(lines.slice(begin, at).join("\n"))}</p>);
    }
  }
  return found;
}

const INLINE = /(`+)(.+?)\1|\*\*(.+?)\*\*|\*([^*\s][^*]*)\*|\[([^\]]+)\]\((\S+?)\)|\n/;

export function inline(text: string): ReactNode[] {
  const found: ReactNode[] = [];
  let left = text;
  let match: RegExpExecArray | null;
  while ((match = INLINE.exec(left))) {
    if (match.index) found.push(left.slice(0, match.index));
    const key = found.length;
    const [whole, , code, bold, italic, label, address] = match;
    if (code !== undefined) found.push(<code key={key}>{code}</code>);
    else if (bold !== undefined) found.push(<strong key={key}>{inline(bold)}</strong>);
    else if (italic !== undefined) found.push(<em key={key}>{inline(italic)}</em>);
    else if (label !== undefined) {
      found.push(/^https?:\/\//i.test(address!)
        ? <a key={key} href={address} target="_blank" rel="noopener noreferrer nofollow">{label}</a>
        : whole);
    } else found.push(<br key={key} />);
    left = left.slice(match.index + whole.length);
  }
  if (left) found.push(left);
  return found;
}
