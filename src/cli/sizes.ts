import { WindlassError } from '../errors.ts'
import { quote } from '../oci/quote.ts'

/** A whole number of bytes, in units of 1024 with K, M, G or T behind it, as curl, wget and split have it. @throws WindlassError USAGE */
export function parseBytes(name: string, text: string, { min, wanted }: { min: number; wanted: string }): number {
  const match = /^(\d{1,12})([KMGT]?)$/i.exec(text)
  const power = ' KMGT'.indexOf(match?.[2]?.toUpperCase() || ' ')
  const bytes = match === null ? Number.NaN : Number(match[1]) * 1024 ** power
  if (bytes >= min && Number.isSafeInteger(bytes)) return bytes
  throw new WindlassError('USAGE', `Cannot use option ${name} ${quote(text)}: wanted ${wanted}`)
}
