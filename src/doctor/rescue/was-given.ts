/** Whether a decompressor was given a layer, to its last byte: what waits in its input is the end of it, or that stands in its memory, where it has read it to. */
import { hasInMemory } from '../../sys/foreign-memory.ts'
import type { Line } from '../lines.ts'
import { type Examined, tellingEnd } from './examine.ts'

interface Given {
  /** What waits in its input. */
  readonly input: Buffer
  readonly examined: Pick<Examined, 'end' | 'total' | 'checksum'> & { readonly layer: Pick<Examined['layer'], 'size'> }
}

/** Noise has more; what fills up a file, or ends every stream of a kind, has less. */
const differentBytesMin = 24
/** pigz and gzip read into buffers of so many bytes, or of a multiple: what stands side by side in the layer stands there apart. */
const bufferSize = 32_768
/** A gzip member ends with the checksum of all that it holds, and with the length of that (RFC 1952, 2.3.1). Fewer bytes than these stand anywhere. */
const trailerSize = 8

export async function wasGiven(
  { decompressor }: Pick<Line, 'decompressor'>,
  { input, examined }: Given,
  signal: AbortSignal,
): Promise<boolean> {
  const { end, layer } = examined
  const before = end.subarray(0, Math.max(0, end.length - input.length))
  if (!end.subarray(before.length).equals(input)) return false
  if (input.length === layer.size) return input.length > 0
  const isChecked = tellsAll(examined)
  if (isChecked && tellingOf(input) !== undefined) return true
  const telling = (isChecked ? tellingOf(before) : undefined) ?? (end.length === layer.size ? before : undefined)
  if (telling === undefined) return false
  const parts = partsOf(telling, layer.size - input.length)
  const isEndSeen = Math.max(input.length, parts.at(-1)?.length ?? 0) >= trailerSize
  const wanted = parts.filter(({ length }) => length >= trailerSize)
  if (!isEndSeen || wanted.length === 0) return false
  for (const { pid } of decompressor) if (await hasInMemory(pid, wanted, signal)) return true
  return false
}

/** Else its end says nothing of what comes before: that of several members, of what has something behind it, of another format. */
function tellsAll({ end, total, checksum }: Given['examined']): boolean {
  if (end.length < trailerSize) return false
  const at = end.length - trailerSize
  return end.readUInt32LE(at) === checksum && end.readUInt32LE(at + 4) === total % 2 ** 32
}

/** The least of the last bytes that are like no others: a layer may end with kilobytes of padding, of which little is left. */
function tellingOf(bytes: Buffer): Buffer | undefined {
  for (let length = tellingEnd; length <= bytes.length; length += tellingEnd) {
    const last = bytes.subarray(-length)
    if (new Set(last).size >= differentBytesMin) return last
  }
  return undefined
}

/** @param endAt where in the layer these bytes end */
function partsOf(bytes: Buffer, endAt: number): Buffer[] {
  const parts: Buffer[] = []
  for (let at = endAt - bytes.length; at < endAt; ) {
    const next = Math.min(endAt, (Math.floor(at / bufferSize) + 1) * bufferSize)
    parts.push(bytes.subarray(at - endAt + bytes.length, next - endAt + bytes.length))
    at = next
  }
  return parts
}
