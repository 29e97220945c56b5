import { optionOf } from '../../sys/process-files.ts'
import { type Download, findDownloads, silentMs } from '../downloads.ts'
import { makeFinding } from '../finding.ts'
import { readDaemonFile } from '../registry-settings.ts'
import { type CheckOf, describeEngine } from './check.ts'

/** What dockerd takes if nothing else is said. */
const slotsDefault = 3
/** A file's time is a clock's, and clocks are set: so long we see ourselves that nothing comes. */
const watchMs = 3000

/** Whether every download that dockerd makes at a time stands still: its places are for all pulls together, and a silent one keeps its own. */
export const downloadSlots: CheckOf<'engine'> = {
  name: 'download-slots',
  of: 'engine',
  async look(engine, { host, signal }) {
    if (engine.kind !== 'dockerd' || !engine.isOpen) return []
    const findSilent = async () => (await findDownloads(host, engine)).filter(({ idleMs }) => idleMs >= silentMs)
    const first = await findSilent()
    if (first.length === 0) return []
    await host.pause(watchMs, signal)
    const isStill = ({ path, bytes }: Download) => first.some(one => one.path === path && one.bytes === bytes)
    const silent = (await findSilent()).filter(isStill)
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
