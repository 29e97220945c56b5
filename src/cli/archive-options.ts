import { WindlassError } from '../errors.ts'
import type { FileSinkOptions } from '../places/archive/file-sink.ts'
import type { OptionTable, OptionValues } from './command.ts'
import { parseBytes } from './sizes.ts'

/** How an archive lies on the disk, for each command that writes one. */
export const archiveOptions = {
  checksum: {
    type: 'boolean',
    summary: "write FILE.sha256 beside the archive, for 'sha256sum -c'; load checks it where it lies there",
  },
  split: {
    type: 'string',
    value: 'SIZE',
    summary:
      'write parts FILE.001, FILE.002 and on, each smaller than SIZE (4G for FAT), and FILE.sha256, which names them; load -i FILE joins them',
  },
} as const satisfies OptionTable

const splitMin = 64 * 1024
const blockSize = 512

/** @throws WindlassError USAGE */
export function readFileOptions({ checksum, split }: OptionValues<typeof archiveOptions>): FileSinkOptions {
  if (split === undefined) return { checksum }
  const wanted = 'a size of at least 64K, such as 700M or 4G'
  const size = parseBytes('--split', split, { min: splitMin, wanted })
  // The largest file that FAT takes is one byte smaller than 4 GiB.
  return { checksum, partSize: Math.floor((size - 1) / blockSize) * blockSize }
}

/** @throws WindlassError USAGE */
export function refuseFileOptions({ checksum, split }: OptionValues<typeof archiveOptions>, state: string): void {
  if (!checksum && split === undefined) return
  const name = checksum ? '--checksum' : '--split'
  throw new WindlassError('USAGE', `Cannot use ${name}: ${state}`, {
    hint: 'write an archive to a file',
  })
}
