import "@mantine/core/styles.css";
import "uplot/dist/uPlot.min.css";
import "./app.css";
import { Badge, createTheme, Input, MantineProvider, Menu } from "@mantine/core";
import { QueryClient, QueryClientProvider } from "@tanstack/react-query";
import { StrictMode } from "react";
import { createRoot } from "react-dom/client";
import { ApiError } from "./api/http";
import { followChanges } from "./api/changes";
import { App } from "./app/App";
import "./i18n";

const nonce = document.querySelector<HTMLMetaElement>("meta[name=csp-nonce]")?.content ?? "";
// What locks the page's scroll behind a dialog asks for the nonce by this name.
(globalThis as unknown as { __webpack_nonce__: string }).__webpack_nonce__ = nonce;

const queries = new QueryClient({
  defaultOptions: {
    // A browser without a network may be on the platform's own machine: only an answer says whether it is there. And what
    // was pressed without one is not sent minutes later, when nobody looks any more: it fails at once, and is there to be pressed again.
    mutations: { networkMode: "always" },
    queries: {
      networkMode: "always",
      staleTime: 3_000,
      refetchIntervalInBackground: false,
      // What the user can change is no passing trouble; a server that starts again is.
      retry: (count, error) => count < 3 && error instanceof ApiError && (error.status === 0 || error.status === 503),
    },
  },
});

followChanges(queries);

const theme = createTheme({
  primaryColor: "indigo",
  primaryShade: { light: 7, dark: 8 },
  defaultRadius: "md",
  cursorType: "pointer",
  fontFamily: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Noto Sans', 'Noto Sans CJK SC', 'PingFang SC', 'Microsoft YaHei', sans-serif",
  autoContrast: true,
  components: {
    // What it would put first is no entry of a menu: readers of screens lose count. The first entry is gone to instead.
    Menu: Menu.extend({ defaultProps: { withInitialFocusPlaceholder: false } }),
    Badge: Badge.extend({ styles: { root: { textTransform: "none", flex: "none" } } }),
    // Help of different length below the inputs: those of a row stand at one height.
    InputWrapper: Input.Wrapper.extend({ defaultProps: { inputWrapperOrder: ["label", "input", "error", "description"] } }),
  },
});

createRoot(document.getElementById("root")!).render(
  <StrictMode>
    <MantineProvider theme={theme} defaultColorScheme="auto" getStyleNonce={() => nonce}>
      <QueryClientProvider client={queries}>
        <App />
      </QueryClientProvider>
    </MantineProvider>
  </StrictMode>,
);
