// What strangers' Markdown may become: words, tables, code, links of the web. HTML stays text, pictures their words.
import Reader, { type Components } from "react-markdown";
import gfm from "remark-gfm";

const heading: Components["h1"] = ({ children }) => <p><strong>{children}</strong></p>; // the page's headings are its own

const PARTS: Components = {
  a: ({ href, children }) => (href ? <a href={href} target="_blank" rel="noopener noreferrer nofollow">{children}</a> : <>{children}</>),
  img: ({ alt }) => <>{alt}</>, // what it would ask for is another server's, and tells it who reads
  input: ({ checked }) => <>{checked ? "☑" : "☐"}</>,
  pre: ({ children }) => <pre tabIndex={0}>{children}</pre>, // scrolled by keyboard too
  table: ({ children }) => <div className="markdown-table" tabIndex={0}><table>{children}</table></div>,
  h1: heading, h2: heading, h3: heading, h4: heading, h5: heading, h6: heading,
};

/** An address of the web as it is; none for all others. */
export const address = (url: string): string => (/^https?:\/\//i.test(url) ? url : "");

export default function Read({ text }: { text: string }) {
  return <div className="markdown"><Reader remarkPlugins={[gfm]} urlTransform={address} components={PARTS}>{text}</Reader></div>;
}
