import { Table, type TableScrollContainerProps } from "@mantine/core";

/** Where a table that is wider than the page scrolls, by the keyboard too: it may hold nothing else to tab to. */
export function Wide(given: TableScrollContainerProps) {
  return <Table.ScrollContainer {...given} scrollAreaProps={{ viewportProps: { tabIndex: 0 } }} />;
}
