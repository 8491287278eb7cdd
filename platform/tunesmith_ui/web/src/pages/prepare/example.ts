// The demo's task, as `make demo` runs it: its rows travel with the page, so that a first training needs no file.
import rows from "../../../../../../configs/datasets/ember_train.jsonl?raw";
import { call } from "../../api/http";
import type { DatasetView, UploadView } from "../../api/schema";
import type { Values } from "../../parts/form";

/** Half of the rows, once, are enough to see what it learns; 135 million parameters fit without computing activations twice. */
export const SETTINGS: Values = {
  max_samples: 100, num_train_epochs: 1, learning_rate: 1e-3, per_device_train_batch_size: 4, gradient_accumulation_steps: 1, max_length: 256,
  save_strategy: "steps", save_steps: 8, logging_steps: 1, gradient_checkpointing: false,
};

/** Send the example's rows; they become a data set, as any upload does. */
export async function sendExample(): Promise<DatasetView> {
  const file = new Blob([rows]);
  const upload = await call<UploadView>("POST", "/v1/uploads", { body: { file_name: "ember_train.jsonl", bytes: file.size } });
  await call<UploadView>("PUT", `/v1/uploads/${upload.id}`, { query: { offset: 0 }, body: file, headers: { "Content-Type": "application/octet-stream" } });
  return call<DatasetView>("POST", `/v1/uploads/${upload.id}:finish`);
}
