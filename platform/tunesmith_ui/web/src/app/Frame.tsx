// The frame round every page: tabs, what runs and waits, how the platform is, language and theme.
import { ActionIcon, Anchor, AppShell, Badge, Burger, Button, Group, Loader, Menu, ScrollArea, Text, Tooltip } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { lazy, Suspense, useEffect, type ReactNode } from "react";
import { addressOf, call } from "../api/http";
import { useSignInOptions, useSystem } from "../api/queries";
import type { SessionView } from "../api/schema";
import { useWords, type Word } from "../i18n";
import { inStudio } from "../parts/hints";
import { Icon, type IconName } from "../parts/icons";
import { Panel } from "../parts/Panel";
import { Monitor } from "../pages/Monitor";
import { Choices } from "./Choices";
import { CutOff } from "./CutOff";
import { hrefOf, useRoute } from "./router";
import { useWorkspace, useWorkspaceStream } from "./workspace";

// What the first page does not need is loaded when it is opened.
const Data = lazy(async () => ({ default: (await import("../pages/Data")).Data }));
const Evaluate = lazy(async () => ({ default: (await import("../pages/Evaluate")).Evaluate }));
const Models = lazy(async () => ({ default: (await import("../pages/Models")).Models }));
const Package = lazy(async () => ({ default: (await import("../pages/Package")).Package }));
const Pipelines = lazy(async () => ({ default: (await import("../pages/Pipelines")).Pipelines }));
const Prepare = lazy(async () => ({ default: (await import("../pages/Prepare")).Prepare }));
const Settings = lazy(async () => ({ default: (await import("../pages/Settings")).Settings }));
const Test = lazy(async () => ({ default: (await import("../pages/Test")).Test }));

type Page = { name: string; word: Word; icon: IconName; show: (parts: string[]) => ReactNode };

const PAGES: Page[] = [
  { name: "prepare", word: "tab.prepare", icon: "slider", show: () => <Prepare /> },
  { name: "monitor", word: "tab.monitor", icon: "line", show: ([id]) => <Monitor id={id ?? null} /> },
  { name: "evaluate", word: "tab.evaluate", icon: "pie", show: ([id]) => <Evaluate id={id ?? null} /> },
  { name: "test", word: "tab.test", icon: "send", show: () => <Test /> },
  { name: "package", word: "tab.package", icon: "save", show: ([id]) => <Package id={id ?? null} /> },
  { name: "data", word: "tab.data", icon: "data", show: () => <Data /> },
  { name: "pipelines", word: "tab.pipelines", icon: "flow", show: () => <Pipelines /> },
  { name: "models", word: "tab.models", icon: "cube", show: () => <Models /> },
  { name: "settings", word: "tab.settings", icon: "gear", show: () => <Settings /> },
];

export function Frame({ session }: { session: SessionView }) {
  const { t } = useWords();
  const route = useRoute();
  const [isOpen, { toggle, close }] = useDisclosure();
  const link = useWorkspaceStream();
  const page = PAGES.find((one) => one.name === route.parts[0]) ?? PAGES[1]!;
  useEffect(() => {
    document.title = `${t(page.word)} · Tunesmith`;
    close();
  }, [page, t, close]);
  return (
    <AppShell header={{ height: 56 }} navbar={{ width: 200, breakpoint: "sm", collapsed: { mobile: !isOpen } }} padding="md">
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap" gap="sm">
          <Group gap="sm" wrap="nowrap">
            <Burger opened={isOpen} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t("frame.menu")} />
            <Text fw={700} size="lg">Tunesmith</Text>
            <Upgraded />
          </Group>
          <Group gap="xs" wrap="nowrap">
            <Activity />
            <span className="wide-only"><Choices /></span>
            <Account session={session} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar p="xs" component="nav" aria-label={t("frame.pages")}>
        <ScrollArea>
          {PAGES.map((one) => (
            <a key={one.name} href={hrefOf([one.name])} className="tab" aria-current={one === page ? "page" : undefined}>
              <Icon name={one.icon} /><span>{t(one.word)}</span>
            </a>
          ))}
        </ScrollArea>
        <div className="narrow-only"><Choices /></div>
      </AppShell.Navbar>
      <AppShell.Main>
        {session.role === "viewer" && <Text size="sm" c="dimmed" mb="sm" role="note">{t("frame.viewer")}</Text>}
        {link.away && <CutOff away={link.away} onAgain={link.retry} />}
        <Panel key={page.name}><Suspense fallback={<Loader size="sm" />}>{page.show(route.parts.slice(1))}</Suspense></Panel>
      </AppShell.Main>
    </AppShell>
  );
}

/** What runs and waits, and parts of the platform that are not well. */
function Activity() {
  const { t } = useWords();
  const { tasks } = useWorkspace();
  const system = useSystem();
  const running = tasks.filter((task) => task.state === "running" || task.state === "stopping");
  const waiting = tasks.filter((task) => task.state === "pending");
  const unwell = (system.data?.parts ?? []).filter((part) => !part.ok);
  return (
    <Group gap="xs" wrap="nowrap" aria-live="polite">
      <Menu position="bottom-end" width={320}>
        <Menu.Target>
          <Button variant="default" size="compact-sm" leftSection={<Icon name="play" size={14} />}>
            {running.length}<span className="wide-only">&nbsp;{t("frame.running")}</span>
            &nbsp;·&nbsp;{waiting.length}<span className="wide-only">&nbsp;{t("frame.queued")}</span>
          </Button>
        </Menu.Target>
        <Menu.Dropdown>
          {[...running, ...waiting].slice(0, 12).map((task) => (
            <Menu.Item key={task.id} component="a" href={hrefOf(["monitor", task.id])}>
              <Text size="sm" truncate>{task.name}</Text>
              <Text size="xs" c="dimmed">{t(`state.${task.state}` as Word)} {Math.round(task.progress.percent)} %</Text>
            </Menu.Item>
          ))}
          {running.length + waiting.length === 0 && <Menu.Item component="a" href={hrefOf(["monitor"])}>{t("frame.nothing")}</Menu.Item>}
          {system.data && (
            <Menu.Label>{t("frame.places", { count: system.data.max_concurrent_jobs })}</Menu.Label>
          )}
        </Menu.Dropdown>
      </Menu>
      {unwell.length > 0 && (
        <Tooltip multiline w={280} label={unwell.map((part) => `${part.name}: ${inStudio(part.message, t)}`).join("\n")}>
          <Badge color="red" size="lg" component="a" href={hrefOf(["settings"])} leftSection={<Icon name="warn" size={14} />}>
            {unwell.length}
          </Badge>
        </Tooltip>
      )}
    </Group>
  );
}

function Account({ session }: { session: SessionView }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const provider = useSignInOptions().data?.providers[0];
  return (
    <Menu position="bottom-end">
      <Menu.Target>
        <ActionIcon variant="default" size="lg" aria-label={t("frame.account")}><Icon name="out" /></ActionIcon>
      </Menu.Target>
      <Menu.Dropdown>
        <Menu.Label>{session.name} ({session.role})</Menu.Label>
        <Menu.Item onClick={() => {
          void call<undefined>("DELETE", "/v1/sessions/current").finally(() => {
            queries.clear();
            sessionStorage.clear(); // what one has typed is not the next one's to see
            // Who came in by a provider leaves it too; the studio comes after.
            if (provider) window.location.assign(addressOf(provider.sign_out));
            else window.location.reload();
          });
        }}>{t("frame.signOut")}</Menu.Item>
      </Menu.Dropdown>
    </Menu>
  );
}

/** Says that the server has another build of the studio than this tab. */
function Upgraded() {
  const { t } = useWords();
  const own = document.querySelector<HTMLMetaElement>("meta[name=build]")?.content ?? "";
  const build = useQuery({
    queryKey: ["build"], refetchInterval: 60_000, staleTime: 30_000,
    queryFn: async () => {
      const answer = await fetch(addressOf("/studio/build"), { cache: "no-store" });
      return answer.ok ? answer.text() : own;
    },
  });
  if (!build.data || build.data === own) return null;
  return (
    <Anchor component="button" size="sm" onClick={() => window.location.reload()}>{t("frame.reload")}</Anchor>
  );
}
