import i18next from "i18next";
import { initReactI18next, useTranslation } from "react-i18next";
import en from "./en.json";
import zh from "./zh.json";

const KEPT = "tunesmith-language";
const LANGUAGES = ["en", "zh"] as const;
export type Language = (typeof LANGUAGES)[number];

function first(): Language {
  const kept = localStorage.getItem(KEPT);
  if (kept === "en" || kept === "zh") return kept;
  return navigator.language.toLowerCase().startsWith("zh") ? "zh" : "en";
}

void i18next.use(initReactI18next).init({
  lng: first(), fallbackLng: "en", keySeparator: false, nsSeparator: false,
  resources: { en: { translation: en }, zh: { translation: zh } },
  interpolation: { escapeValue: false }, // React writes text, never HTML
});

export function choose(language: Language): void {
  localStorage.setItem(KEPT, language);
  void i18next.changeLanguage(language);
}

/** Words in the user's language, and what the server says in both: `pick(en, zh)`. */
export function useWords() {
  const { t, i18n } = useTranslation();
  const language: Language = i18n.language === "zh" ? "zh" : "en";
  return { t: t as unknown as (key: Word, values?: Record<string, unknown>) => string, language, pick: <T>(a: T, b: T) => (language === "zh" ? b : a) };
}

type Plural<K extends string> = K extends `${infer Base}_one` | `${infer Base}_other` ? Base : K;
export type Word = Plural<keyof typeof en & string>;
