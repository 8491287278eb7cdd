// One parameter as the schema says it is: its control, its label in the user's language, its help, its range, its error.
import { ActionIcon, Autocomplete, Group, JsonInput, NumberInput, Select, Slider, Stack, Switch, TagsInput, TextInput, Tooltip } from "@mantine/core";
import { useState } from "react";
import type { FormProperty } from "../api/queries";
import { useWords, type Word } from "../i18n";
import { Icon } from "./icons";
import { PathPicker } from "./PathPicker";
import { Said } from "./Said";

type Props = {
  name: string; property: FormProperty; value: unknown; isChanged: boolean; error?: string | undefined;
  /** Names that may be chosen where the parameter names a file or a model. */
  offered?: string[];
  /** What stands below the field, worked out from other parameters. */
  beside?: React.ReactNode;
  onChange: (value: unknown) => void; onReset: () => void;
};

export function Field({ name, property, value, isChanged, error, offered, beside, onChange, onReset }: Props) {
  const { t, pick } = useWords();
  const about = property.tunesmith;
  const label = pick(about.label_en, about.label_zh) || name;
  const range = about.ui_min !== null && about.ui_max !== null ? ` (${about.ui_min} – ${about.ui_max})` : "";
  const unit = about.unit ? ` · ${t(`unit.${about.unit}` as Word)}` : "";
  const help = pick(about.help_en, about.help_zh);
  const choice = typeof value === "string" ? about.choice_help?.[value] : undefined;
  const description = (
    <span className="wrapped">
      <Said>{help}</Said>{range}{unit}
      {choice && <><br /><Said>{pick(choice.en, choice.zh)}</Said></>}
      {about.advice?.map((one) => <span key={one.en}><br /><Said>{pick(one.en, one.zh)}</Said></span>)}
    </span>
  );
  const shared = { label, description, error: error && <Said>{error}</Said>, required: about.required };
  const control = () => {
    switch (about.kind) {
      case "boolean":
        return <Switch label={label} description={description} error={shared.error} checked={value === true} onChange={(event) => onChange(event.currentTarget.checked)} />;
      case "choice":
        return <Select {...shared} data={about.choices ?? []} value={value === null ? null : String(value)} searchable allowDeselect={!about.required}
          onChange={(found) => onChange(found)} />;
      case "list":
        return <TagsInput {...shared} data={offered ?? about.choices ?? []} value={Array.isArray(value) ? value.map(String) : []} onChange={onChange} />;
      case "object":
        return <ObjectInput {...shared} value={value} onChange={onChange} />;
      case "integer":
      case "number":
        return <NumberField {...shared} property={property} value={value} onChange={onChange} />;
      default:
        return about.path
          ? <Autocomplete {...shared} data={offered ?? []} value={String(value ?? "")} onChange={(found) => onChange(found === "" ? null : found)} limit={50}
              rightSectionPointerEvents="all" rightSection={<PathPicker label={label} value={String(value ?? "")} onChoose={onChange} />} />
          : <TextInput {...shared} value={String(value ?? "")} onChange={(event) => onChange(typed(about.kind, event.currentTarget.value))} />;
    }
  };
  return (
    <div className={isChanged ? "field changed" : "field"} data-field={name}>
      <Group align="start" wrap="nowrap" gap="xs">
        <div className="fill">{control()}{beside}</div>
        {isChanged && (
          <Tooltip label={t("form.reset")}>
            <ActionIcon variant="subtle" size="sm" mt={4} aria-label={`${t("form.reset")}: ${label}`} onClick={onReset}><Icon name="again" size={14} /></ActionIcon>
          </Tooltip>
        )}
      </Group>
    </div>
  );
}

/** A whole number is a number, a range stays a text; an empty field gives nothing. */
function typed(kind: string, text: string): unknown {
  if (text === "") return null;
  return kind === "integer or range" && /^\d+$/.test(text) ? Number(text) : text;
}

type Shared = { label: string; description: React.ReactNode; error?: React.ReactNode; required: boolean };

function NumberField({ property, value, onChange, ...shared }: Shared & { property: FormProperty; value: unknown; onChange: (value: unknown) => void }) {
  const { ui_min: low, ui_max: high, step, kind } = property.tunesmith;
  const current = typeof value === "number" ? value : null;
  // A range over some powers of ten is moved through by its logarithm.
  const isLogarithmic = kind === "number" && low !== null && high !== null && low > 0 && high / low >= 1e3;
  const isSmall = kind === "number" && !isLogarithmic && low !== null && high !== null && high - low <= 10;
  return (
    <NumberInput {...shared} value={current ?? ""} step={step ?? (kind === "integer" ? 1 : 0.01)} allowDecimal={kind === "number"} decimalScale={12}
      onChange={(found) => onChange(found === "" ? null : Number(found))} hideControls={isLogarithmic}
      inputContainer={(input) => (
        <Stack gap={6}>
          {input}
          {isLogarithmic && current !== null && current > 0 && (
            <Slider thumbLabel={shared.label} min={Math.log10(low)} max={Math.log10(high)} step={0.01} value={Math.log10(current)}
              label={(at) => (10 ** at).toExponential(1)} onChange={(at) => onChange(Number((10 ** at).toPrecision(2)))} />
          )}
          {isSmall && current !== null && (
            <Slider thumbLabel={shared.label} min={low} max={high} step={step ?? 0.01} value={current} onChange={onChange} />
          )}
        </Stack>
      )} />
  );
}

function ObjectInput({ value, onChange, ...shared }: Shared & { value: unknown; onChange: (value: unknown) => void }) {
  const { t } = useWords();
  const [text, setText] = useState(value === null || value === undefined ? "" : JSON.stringify(value, null, 2));
  return (
    <JsonInput {...shared} value={text} autosize minRows={2} maxRows={10} validationError={t("form.json")} onChange={(written) => {
      setText(written);
      try {
        onChange(written.trim() ? (JSON.parse(written) as unknown) : null);
      } catch { /* said at the field; sent once it is JSON */ }
    }} />
  );
}

