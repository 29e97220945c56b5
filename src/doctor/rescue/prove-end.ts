/** Did it help? What the engine itself shows after a rescue. */
import { join } from 'node:path'
import type { HostView } from '../../sys/host-view.ts'
import { readDescriptors } from '../../sys/process-files.ts'
import { readProcess } from '../../sys/tasks.ts'
import type { RescuePlan } from './rescue.ts'

export interface Proof {
  readonly isProven: boolean
  readonly text: string
}

/** The end of a large layer is put on the disk. */
const proofMs = 60_000
const lookMs = 250

export async function proveEnd(
  host: HostView,
  { subject, choice }: RescuePlan,
  { signal }: { readonly signal: AbortSignal },
): Promise<Proof> {
  const { engine, untar } = subject.line
  const name = `${engine.kind} ${engine.process.pid}`
  for (const start = host.elapsed(); host.elapsed() - start < proofMs; ) {
    const isUnpacking = untar !== undefined && readProcess(untar.pid, host)?.startTicks === untar.startTicks
    if (!isUnpacking && (await isRegistered(host, subject, choice.diffId)))
      return { isProven: true, text: `${name} has taken the layer, checked its digest and registered it` }
    if (!isUnpacking && engine.kind !== 'dockerd' && !isReading(host, engine.process.pid, choice.layer.name))
      return { isProven: true, text: `${name} has come to the end of the layer` }
    await host.pause(lookMs, signal)
  }
  return {
    isProven: false,
    text: `${name} has all bytes of the layer, but has not finished it within ${proofMs / 1000} s`,
  }
}

function isReading(host: HostView, pid: number, path: string): boolean {
  return readDescriptors(host, pid).some(({ target }) => target === path)
}

/** dockerd keeps a directory for each layer that it has verified, with its diffId in it. */
async function isRegistered(host: HostView, { line }: RescuePlan['subject'], diffId: string): Promise<boolean> {
  const { kind, dataPath } = line.engine
  if (kind !== 'dockerd' || dataPath === undefined) return false
  const image = join(dataPath, 'image')
  for (const driver of await host.disk.names(image)) {
    const layers = join(image, driver, 'layerdb', 'sha256')
    for (const chain of await host.disk.names(layers)) {
      if ((await host.disk.text(join(layers, chain, 'diff')))?.trim() === diffId) return true
    }
  }
  return false
}
