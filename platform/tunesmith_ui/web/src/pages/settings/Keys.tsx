// Keys of people and programs: who has which, a new one, whose secret is shown once, and one that counts no more.
import { Button, Group, Modal, MultiSelect, Select, SimpleGrid, Stack, Table, Text, TextInput } from "@mantine/core";
import { useQuery, useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useSession } from "../../api/queries";
import type { KeyView, MadeKey, NewKey, Page_KeyView_, Page_ProjectView_, Role } from "../../api/schema";
import { useWords, type Word } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Mark } from "../../parts/Mark";
import { ErrorNote, Found, Section } from "../../parts/Panel";
import { Said } from "../../parts/Said";
import { Secret } from "../../parts/Secret";
import { problemsOf } from "../../parts/TaskForm";
import { timeOf } from "../../parts/words";
import { Wide } from "../../parts/Wide";

const ROLES: Role[] = ["viewer", "member", "admin"];
const DAYS = ["30", "90", "365", ""];
const DAY_MS = 86_400_000;

export function Keys() {
  const { t } = useWords();
  const asked = useQuery({
    queryKey: ["keys"],
    queryFn: ({ signal }) => call<Page_KeyView_>("GET", "/v1/keys", { query: { limit: 200 }, signal }),
  });
  return (
    <Section title={t("settings.keys")}>
      <Stack gap="sm">
        <Found asked={asked}>
          {({ data }) => (
            <Wide minWidth={640}>
              <Table verticalSpacing="xs">
                <Table.Thead><Table.Tr>
                  <Table.Th>{t("settings.keyOf")}</Table.Th><Table.Th>{t("settings.role")}</Table.Th><Table.Th>{t("settings.worksIn")}</Table.Th>
                  <Table.Th>{t("settings.used")}</Table.Th><Table.Th>{t("settings.ends")}</Table.Th><Table.Th aria-label={t("settings.revoke")} />
                </Table.Tr></Table.Thead>
                <Table.Tbody>{data.map((one) => <One key={one.id} one={one} />)}</Table.Tbody>
              </Table>
            </Wide>
          )}
        </Found>
        <Make />
      </Stack>
    </Section>
  );
}

function One({ one }: { one: KeyView }) {
  const { t, language } = useWords();
  const queries = useQueryClient();
  const [isAsked, setAsked] = useState(false);
  const revoke = useAct({
    mutationFn: () => call<KeyView>("DELETE", `/v1/keys/${one.id}`),
    onSuccess: () => {
      setAsked(false);
      return queries.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  const hasEnded = one.expires_at != null && Date.parse(one.expires_at) <= Date.now();
  const role = ROLES.includes(one.role as Role) ? t(`role.${one.role}` as Word) : one.role;
  return (
    <Table.Tr>
      <Table.Th scope="row" className="named">{one.name}</Table.Th>
      <Table.Td className="nowrap">{role}</Table.Td>
      <Table.Td className="wrapped">{one.projects?.join(", ") ?? t("settings.everywhere")}</Table.Td>
      <Table.Td className="nowrap">{one.used_at ? timeOf(one.used_at, language) : t("settings.never")}</Table.Td>
      <Table.Td className="nowrap">{one.expires_at ? timeOf(one.expires_at, language) : t("settings.never")}</Table.Td>
      <Table.Td className="nowrap">
        {one.revoked_at ? <Mark tone="plain">{t("settings.revoked")}</Mark> : hasEnded ? <Mark tone="plain">{t("settings.ended")}</Mark> : (
          <Button size="compact-sm" variant="light" color="red" onClick={() => setAsked(true)}>{t("settings.revoke")}</Button>
        )}
        <Modal opened={isAsked} onClose={() => setAsked(false)} title={t("settings.revokeKey", { name: one.name })} closeButtonProps={{ "aria-label": t("close") }}>
          <Stack>
            <Text size="sm">{t("settings.revokeNote")}</Text>
            {revoke.error && <ErrorNote error={revoke.error} />}
            <Group justify="end">
              <Button variant="default" onClick={() => setAsked(false)}>{t("cancel")}</Button>
              <Button color="red" loading={revoke.isPending} onClick={() => revoke.mutate()}>{t("settings.revoke")}</Button>
            </Group>
          </Stack>
        </Modal>
      </Table.Td>
    </Table.Tr>
  );
}

function Make() {
  const { t } = useWords();
  const queries = useQueryClient();
  const session = useSession();
  const projects = useQuery({
    queryKey: ["projects"],
    queryFn: ({ signal }) => call<Page_ProjectView_>("GET", "/v1/projects", { query: { limit: 200 }, signal }),
  });
  const [name, setName] = useState("");
  const [role, setRole] = useState<Role>("member");
  const [where, setWhere] = useState<string[]>([]);
  const [days, setDays] = useState("90");
  const isAdmin = session.data?.role === "admin";
  const most = ROLES.indexOf((session.data?.role ?? "viewer") as Role);
  const worksEverywhere = role === "admin";
  const make = useAct({
    mutationFn: () => {
      const body: NewKey = { role, all_projects: false };
      if (isAdmin && name.trim()) body.name = name.trim();
      if (!worksEverywhere && where.length > 0) body.projects = where;
      if (days) body.expires_at = new Date(Date.now() + Number(days) * DAY_MS).toISOString();
      return call<MadeKey>("POST", "/v1/keys", { body });
    },
    onSuccess: () => {
      setName("");
      return queries.invalidateQueries({ queryKey: ["keys"] });
    },
  });
  const problems = problemsOf(make.error);
  return (
    <form onSubmit={(event) => {
      event.preventDefault();
      make.mutate();
    }}>
      <Stack gap="sm">
        <SimpleGrid cols={{ base: 1, sm: 2, md: 4 }}>
          <TextInput label={t("settings.keyOf")} value={isAdmin ? name : session.data?.name ?? ""} disabled={!isAdmin} placeholder={session.data?.name} error={problems.name && <Said>{problems.name}</Said>} onChange={(event) => setName(event.currentTarget.value)} />
          <Select label={t("settings.role")} value={role} allowDeselect={false} error={problems.role && <Said>{problems.role}</Said>} onChange={(value) => setRole(value as Role)} data={ROLES.slice(0, Math.max(1, most + 1)).map((value) => ({ value, label: t(`role.${value}`) }))} />
          <MultiSelect label={t("settings.worksIn")} value={worksEverywhere ? [] : where} disabled={worksEverywhere} placeholder={worksEverywhere ? t("settings.everywhere") : where.length ? "" : t("settings.defaultProject")} error={problems.projects && <Said>{problems.projects}</Said>} onChange={setWhere} data={projects.data?.data.map((one) => one.name) ?? []} />
          <Select label={t("settings.endsAfter")} value={days} allowDeselect={false} error={problems.expires_at && <Said>{problems.expires_at}</Said>} onChange={(value) => setDays(value ?? "")} data={DAYS.map((value) => ({ value, label: value ? t("settings.days", { count: Number(value) }) : t("settings.never") }))} />
        </SimpleGrid>
        <Group><Changing><Button type="submit" variant="default" loading={make.isPending}>{t("settings.makeKey")}</Button></Changing></Group>
        {make.error && Object.keys(problems).length === 0 && <ErrorNote error={make.error} />}
        {make.data && <Secret title={t("settings.keyMade", { name: make.data.key.name })} note={t("settings.keyOnce")} secret={make.data.secret} onClose={() => make.reset()} />}
      </Stack>
    </form>
  );
}
