// The trainings that are there, newest first: each may be taken as the beginning of the next, or deleted once it is over.
import { ActionIcon, Button, Checkbox, Group, List, Modal, Stack, Text, TextInput } from "@mantine/core";
import { useQueryClient } from "@tanstack/react-query";
import { useState } from "react";
import { useAct } from "../../api/act";
import { call } from "../../api/http";
import { useCheckpoints } from "../../api/queries";
import { hrefOf } from "../../app/router";
import { useWorkspace, type TaskLine } from "../../app/workspace";
import { useWords } from "../../i18n";
import { Changing } from "../../parts/Changing";
import { Icon } from "../../parts/icons";
import { ErrorNote } from "../../parts/Panel";
import { StateBadge } from "../../parts/State";
import { bytesOf, timeOf } from "../../parts/words";

const OVER = new Set(["completed", "failed", "stopped"]);
const MANY = 8;

export function TaskList({ chosen, onDeleted }: { chosen: string | null; onDeleted: (id: string) => void }) {
  const { t, language } = useWords();
  const { tasks, isKnown } = useWorkspace();
  const [text, setText] = useState("");
  const [going, setGoing] = useState<TaskLine | null>(null);
  const trainings = tasks.filter((task) => task.kind === "train");
  const wanted = text.trim().toLowerCase();
  const shown = trainings.filter((task) => !wanted || task.name.toLowerCase().includes(wanted));
  return (
    <Stack gap="xs">
      {trainings.length > MANY && (
        <TextInput size="xs" aria-label={t("tasks.search")} placeholder={t("tasks.search")} leftSection={<Icon name="search" size={14} />}
          value={text} onChange={(event) => setText(event.currentTarget.value)} />
      )}
      {isKnown && shown.length === 0 && <Text size="sm" c="dimmed">{t(trainings.length ? "monitor.noTask" : "tasks.none")}</Text>}
      <div className="list">
        {shown.map((task) => (
          <div key={task.id} className="row" aria-current={task.id === chosen ? "true" : undefined}>
            <a className="row-link fill" href={hrefOf(["prepare"], { from: task.id })}>
              <Text size="sm" className="wrapped">{task.name}</Text>
              <Group gap={6} mt={2}>
                <StateBadge state={task.state} />
                <Text span size="xs" c="dimmed">{timeOf(task.created_at, language)}</Text>
              </Group>
            </a>
            {OVER.has(task.state) && (
              <Changing><ActionIcon variant="subtle" color="gray" size="sm" aria-label={`${t("tasks.delete")}: ${task.name}`} onClick={() => setGoing(task)}>
                <Icon name="bin" size={15} />
              </ActionIcon></Changing>
            )}
          </div>
        ))}
      </div>
      {going && <Delete task={going} onClose={() => setGoing(null)} onDeleted={() => {
        setGoing(null);
        onDeleted(going.id);
      }} />}
    </Stack>
  );
}

/** Says what goes and what stays before anything goes. */
function Delete({ task, onClose, onDeleted }: { task: TaskLine; onClose: () => void; onDeleted: () => void }) {
  const { t } = useWords();
  const queries = useQueryClient();
  const [isAll, setAll] = useState(false);
  const checkpoints = useCheckpoints(task.id);
  const saved = checkpoints.data?.data ?? [];
  const files = t("tasks.files", { count: saved.length, size: bytesOf(saved.reduce((sum, one) => sum + one.bytes, 0)) });
  const remove = useAct({
    mutationFn: () => call<undefined>("DELETE", `/v1/tasks/${task.id}`, { query: { files: isAll } }),
    onSuccess: () => {
      void queries.invalidateQueries({ queryKey: ["tasks"] });
      onDeleted();
    },
  });
  return (
    <Modal opened onClose={onClose} title={t("tasks.deleteTitle")} closeButtonProps={{ "aria-label": t("close") }}>
      <Stack gap="sm">
        <Text fw={600} className="wrapped">{task.name}</Text>
        <div>
          <Text size="sm" fw={600}>{t("tasks.goes")}</Text>
          <List size="sm">
            <List.Item>{t("tasks.records")}</List.Item>
            {isAll && <List.Item>{files}</List.Item>}
          </List>
        </div>
        <div>
          <Text size="sm" fw={600}>{t("tasks.stays")}</Text>
          <List size="sm">
            {!isAll && <List.Item>{files}</List.Item>}
            <List.Item>{t("tasks.kept")}</List.Item>
          </List>
        </div>
        <Checkbox label={t("tasks.withFiles")} checked={isAll} onChange={(event) => setAll(event.currentTarget.checked)} />
        {remove.error && <ErrorNote error={remove.error} />}
        <Group justify="end">
          <Button variant="default" onClick={onClose} data-autofocus>{t("cancel")}</Button>
          <Changing><Button color="red" loading={remove.isPending} onClick={() => remove.mutate()}>{t("tasks.delete")}</Button></Changing>
        </Group>
      </Stack>
    </Modal>
  );
}
