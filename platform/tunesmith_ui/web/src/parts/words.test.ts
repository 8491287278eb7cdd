import { expect, test } from "vitest";
import { shortened } from "./words";

test("a name takes the room that it has, in letters of one place and of two", () => {
  expect(shortened("train", 5)).toBe("train");
  expect(shortened("trains", 5)).toBe("trai…");
  expect(shortened("客户服务", 8)).toBe("客户服务");
  expect(shortened("客户服务对话", 8)).toBe("客户服…");
  expect(shortened("1-客户服务对话", 8)).toBe("1-客户…");
});
