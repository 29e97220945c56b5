/** Whether the disk under an engine's data answers anybody: a busy disk is slow, and not stuck. */
import type { HostView } from '../sys/host-view.ts'
import { findMountOf, parseMountInfo } from '../sys/mounts.ts'
import type { FoundEngine } from './engines.ts'

/** What a disk did in some time. */
export interface DiskProgress {
  /** As /proc/diskstats calls it. */
  readonly name: string
  /** Requests that came to their end. */
  readonly answered: number
  /** Requests that are with it now. */
  readonly pending: number
  readonly ms: number
}

interface Counters extends Pick<DiskProgress, 'name' | 'pending'> {
  readonly timeMs: number
  readonly answered: number
}

/** A disk is not looked at in the very moment in which a process is: by so much its first look may be later, or its last one earlier. */
const slackMs = 500

/** The counters of one device, looked at again and again. What has none (btrfs, NFS) tells nothing. */
export class DiskWatch {
  readonly #host: HostView
  readonly #device: string | undefined
  readonly #looks: Counters[] = []

  constructor(host: HostView, engine: FoundEngine) {
    this.#host = host
    this.#device = findDevice(host, engine)
  }

  look(): void {
    const counters = this.#device === undefined ? undefined : readCounters(this.#host, this.#device)
    if (counters !== undefined) this.#looks.push({ ...counters, timeMs: this.#host.elapsed() })
  }

  /** What it did in so many of the latest milliseconds; undefined if it was not seen for so long. */
  over(ms: number): DiskProgress | undefined {
    const last = this.#looks.at(-1)
    const isBefore = (wantedMs: number) => (look: Counters) =>
      last !== undefined && last.timeMs - look.timeMs >= wantedMs
    const first = this.#looks.findLast(isBefore(ms)) ?? this.#looks.find(isBefore(ms - slackMs))
    if (first === undefined || last === undefined) return undefined
    const { name, pending } = last
    return { name, pending, answered: last.answered - first.answered, ms: last.timeMs - first.timeMs }
  }
}

function findDevice(host: HostView, { process, dataRoot }: FoundEngine): string | undefined {
  if (dataRoot === undefined) return undefined
  const mounts = parseMountInfo(host.text(`/proc/${process.pid}/mountinfo`) ?? '')
  return findMountOf(dataRoot, mounts)?.device
}

/** Reads, writes, discards and flushes that were completed: iostats.rst, fields 1, 5, 12 and 16 after the name; 9 are under way. */
function readCounters(host: HostView, device: string): Omit<Counters, 'timeMs'> | undefined {
  const [major, minor] = device.split(':')
  const lines = (host.text('/proc/diskstats') ?? '').split('\n').map(line => line.trim().split(/ +/))
  const fields = lines.find(([itsMajor, itsMinor]) => itsMajor === major && itsMinor === minor)
  if (fields === undefined) return undefined
  const field = (number: number) => Number(fields[number + 2] ?? 0)
  return { name: fields[2] ?? device, answered: field(1) + field(5) + field(12) + field(16), pending: field(9) }
}
