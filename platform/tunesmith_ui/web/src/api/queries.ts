// What the server knows, by the names under which the pages keep it.
import { keepPreviousData, useQuery } from "@tanstack/react-query";
import { call } from "./http";
import type * as t from "./schema";

export const useSession = (isAsked = true) =>
  useQuery({
    queryKey: ["session"], retry: false, staleTime: 60_000, enabled: isAsked,
    queryFn: ({ signal }) => call<t.SessionView>("GET", "/v1/sessions/current", { signal }),
  });

export const useSignInOptions = () =>
  useQuery({
    queryKey: ["sign-in"], retry: false, staleTime: 60_000,
    queryFn: ({ signal }) => call<t.SignInOptions>("GET", "/v1/sign-in", { signal }),
  });

export const useSystem = () =>
  useQuery({
    queryKey: ["system"], refetchInterval: 60_000,
    queryFn: ({ signal }) => call<t.SystemView>("GET", "/v1/system", { signal }),
  });

export const useTask = (id: string | null, isLive = false) =>
  useQuery<t.TaskView>({
    queryKey: ["task", id], enabled: id !== null,
    refetchInterval: (query) => (isLive && !query.state.data?.ended_at ? 5_000 : false),
    queryFn: ({ signal }) => call<t.TaskView>("GET", `/v1/tasks/${id!}`, { signal }),
  });

export const useTasks = (kind: string, states: string[] = []) =>
  useQuery({
    queryKey: ["tasks", kind, states], // asked again when the stream tells of a change (`changes.ts`), not by the clock
    queryFn: ({ signal }) =>
      call<t.Page_TaskView_>("GET", "/v1/tasks", { query: { kind, state: states, limit: 200 }, signal }),
  });

export const useCheckpoints = (id: string | null) =>
  useQuery({
    queryKey: ["checkpoints", id], enabled: id !== null,
    queryFn: ({ signal }) =>
      call<t.Page_CheckpointView_>("GET", `/v1/tasks/${id!}/checkpoints`, { query: { limit: 500 }, signal }),
  });

export const useSchema = (kind: string) =>
  useQuery({
    queryKey: ["schema", kind], staleTime: Infinity,
    queryFn: ({ signal }) => call<FormSchema>("GET", `/v1/schema/${kind}`, { signal }),
  });

export const useModels = () =>
  useQuery({
    queryKey: ["models"],
    queryFn: ({ signal }) => call<t.Page_ModelView_>("GET", "/v1/models", { signal }),
  });

export const useDatasets = () =>
  useQuery({
    queryKey: ["datasets"],
    queryFn: ({ signal }) => call<t.Page_DatasetView_>("GET", "/v1/datasets", { query: { limit: 500 }, signal }),
  });

export const useTemplates = () =>
  useQuery({
    queryKey: ["templates"],
    queryFn: ({ signal }) => call<t.Page_TemplateView_>("GET", "/v1/templates", { query: { limit: 500 }, signal }),
  });

/** How curves are drawn: over what, attempts in which way, smoothed how much, and between which steps. */
export type Wish = { x: string; mode: string; ema: number | null; from?: number; to?: number };

export const useCurves = (id: string | null, names: string[], wish: Wish, isLive: boolean) =>
  useQuery({
    queryKey: ["curves", id, names, wish], enabled: id !== null && names.length > 0,
    placeholderData: keepPreviousData, refetchInterval: isLive ? 10_000 : false,
    queryFn: ({ signal }) =>
      call<t.Curves>("GET", `/v1/tasks/${id!}/curves`, { query: { name: names, points: 1000, ...wish }, signal }),
  });

export type Condition = { field: string; op: string; value: unknown };
export type About = {
  kind: string; group: string; fold: string; required: boolean;
  label_en: string; label_zh: string; help_en: string; help_zh: string;
  unit?: string; step?: number; ui_min: number | null; ui_max: number | null; choices: string[] | null;
  not_copied?: boolean; not_in_templates?: boolean;
  path?: string; aliases?: string[];
  visible_when?: Condition[]; offered_when?: Condition[];
  default_when?: Array<{ value: unknown; when: Condition[] }>;
  choice_help?: Record<string, { en: string; zh: string }>;
  advice?: Array<{ en: string; zh: string }>;
};
export type FormProperty = {
  default?: unknown; description: string; enum?: unknown[]; minimum?: number; maximum?: number; tunesmith: About;
};
export type Labelled = { name: string; label_en: string; label_zh: string };
export type FormSchema = {
  title: string; properties: Record<string, FormProperty>; required?: string[]; groups: Labelled[]; folds: Labelled[];
};
