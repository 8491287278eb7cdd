import { Group, Stack, Table, Text, Title } from "@mantine/core";
import { useQuery } from "@tanstack/react-query";
import { call } from "../api/http";
import { useSession, useSystem } from "../api/queries";
import type { Environment, Page_QuotaView_ } from "../api/schema";
import { Choices } from "../app/Choices";
import { useWords, type Word } from "../i18n";
import { Mark, type Tone } from "../parts/Mark";
import { Found, Section } from "../parts/Panel";
import { Said } from "../parts/Said";
import { bytesOf, timeOf } from "../parts/words";
import { Wide } from "../parts/Wide";
import { Keys } from "./settings/Keys";
import { Webhooks } from "./settings/Webhooks";

const TONES: Record<string, Tone> = { ok: "good", warning: "warn", failed: "bad" };

export function Settings() {
  const { t, language, pick } = useWords();
  const session = useSession();
  const system = useSystem();
  const environment = useQuery({
    queryKey: ["environment"], staleTime: 30_000,
    queryFn: ({ signal }) => call<Environment>("GET", "/v1/system/environment", { signal }),
  });
  const quota = useQuery({
    queryKey: ["quota"],
    queryFn: ({ signal }) => call<Page_QuotaView_>("GET", "/v1/quota", { query: { limit: 100 }, signal }),
  });
  const nameOf = (part: string) => {
    const label = environment.data?.checks.find((one) => one.name === part)?.label;
    return label ? pick(label.en, label.zh) : part;
  };
  return (
    <Stack>
      <Section title={<Title order={1} size="h4">{t("tab.settings")}</Title>}>
        <Stack gap="sm">
          <Choices />
          {session.data && <Text size="sm">{t("settings.you", { name: session.data.name, role: session.data.role })}{session.data.expires_at ? ` ${t("settings.until", { time: timeOf(session.data.expires_at, language) })}` : ""}</Text>}
        </Stack>
      </Section>
      <Section title={t("settings.platform")}>
        <Found asked={system}>
          {(found) => (
            <Stack gap="xs">
              <Text size="sm">Tunesmith {found.version}</Text>
              <Group gap="xs">{found.parts.map((part) => <Mark key={part.name} tone={part.ok ? "good" : "bad"}>{nameOf(part.name)}</Mark>)}</Group>
              {found.parts.filter((part) => !part.ok).map((part) => <Text key={part.name} size="sm" c="var(--mantine-color-error)" className="wrapped">{nameOf(part.name)}: <Said>{part.message}</Said></Text>)}
              <Text size="sm" className="wrapped">{t("settings.roots")}: {found.allowed_roots.join(", ")}</Text>
            </Stack>
          )}
        </Found>
      </Section>
      <Section title={t("settings.environment")}>
        <Found asked={environment}>
          {(found) => (
            <Wide minWidth={480}>
              <Table verticalSpacing="xs"><Table.Tbody>
                {found.checks.map((one) => (
                  <Table.Tr key={one.name}>
                    <Table.Th scope="row">{pick(one.label.en, one.label.zh)}</Table.Th>
                    <Table.Td className="nowrap"><Mark tone={TONES[one.status] ?? "plain"}>{t(`check.${one.status}` as Word)}</Mark></Table.Td>
                    <Table.Td className="wrapped"><Text size="sm"><Said ofTerminal>{one.found}</Said></Text>{one.cure && <Text size="xs" c="dimmed"><Said ofTerminal>{pick(one.cure.en, one.cure.zh)}</Said></Text>}</Table.Td>
                  </Table.Tr>
                ))}
              </Table.Tbody></Table>
            </Wide>
          )}
        </Found>
        <Text size="xs" c="dimmed" mt="xs">{t("settings.noInstall")}</Text>
      </Section>
      <Section title={t("settings.quota")}>
        <Found asked={quota}>
          {({ data }) => data.length === 0 ? <Text size="sm" c="dimmed">{t("settings.noQuota")}</Text> : (
            <Wide minWidth={520}><Table>
              <Table.Thead><Table.Tr><Table.Th>{t("settings.project")}</Table.Th><Table.Th>{t("settings.left")}</Table.Th><Table.Th>{t("settings.reserved")}</Table.Th><Table.Th>{t("settings.charged")}</Table.Th><Table.Th>{t("settings.packages")}</Table.Th></Table.Tr></Table.Thead>
              <Table.Tbody>{data.map((one) => (
                <Table.Tr key={one.project}>
                  <Table.Th scope="row" className="named">{one.project}</Table.Th>
                  <Table.Td className="nowrap">{one.enabled ? t("settings.available", { count: one.available }) : t("settings.unlimited")}</Table.Td>
                  <Table.Td className="figures">{one.reserved}</Table.Td><Table.Td className="figures">{one.charged}</Table.Td>
                  <Table.Td className="figures">{one.packages} · {bytesOf(one.package_bytes)}</Table.Td>
                </Table.Tr>
              ))}</Table.Tbody>
            </Table></Wide>
          )}
        </Found>
      </Section>
      <Keys />
      <Webhooks />
    </Stack>
  );
}
