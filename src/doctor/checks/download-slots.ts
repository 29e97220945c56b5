import { optionOf } from '../../sys/process-files.ts'
import { findDownloads, silentMs } from '../downloads.ts'
import { makeFinding } from '../finding.ts'
import { readDaemonFile } from '../registry-settings.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** What dockerd takes if nothing else is said. */
const slotsDefault = 3

/** Whether every download that dockerd makes at a time stands still: its places are for all pulls together, and a silent one keeps its own. */
export const downloadSlots: CheckOf<'engine'> = {
  name: 'download-slots',
  of: 'engine',
  async look(engine, { host }) {
    if (engine.kind !== 'dockerd' || !engine.isOpen) return []
    const downloads = await findDownloads(host, engine)
    const silent = downloads.filter(({ idleMs }) => idleMs >= silentMs)
    const told = optionOf(engine.args, ['--max-concurrent-downloads']) ?? (await readDaemonFile(host, engine))?.slots
    const slots = Number(told ?? slotsDefault)
    if (slots < 1 || silent.length < slots) return []
    const idleMs = Math.min(...silent.map(({ idleMs }) => idleMs))
    const evidence = [
      `it downloads ${slots} layers at a time, and ${silent.length} have received nothing for ${Math.floor(idleMs / 1000)} s or longer`,
    ]
    return [
      makeFinding('DOWNLOAD_SLOTS_FULL', describeEngine(engine), { evidence, facts: { slots, silent: silent.length } }),
    ]
  },
}
