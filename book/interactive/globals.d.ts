// What the build puts beside the pieces: see `data.js` for the reader of these records.

interface ArrayRecord {
  type: "float32" | "float16" | "int8" | "uint8" | "uint16" | "rows8";
  shape: number[];
}

interface DataRecord {
  /** Names, colors, numbers: whatever is not an array. */
  meta: any;
  /** Arrays in the order in which they lie in `bytes`. */
  arrays: Record<string, ArrayRecord>;
  /** Deflated bytes in base64. */
  bytes: string;
}

interface Window {
  AAE_DATA?: Record<string, DataRecord>;
}
