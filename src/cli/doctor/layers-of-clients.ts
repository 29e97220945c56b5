/** Layers from the registry, for a rescue whose engine has let go of the compressed bytes. */
import { mkdir } from 'node:fs/promises'
import { fetchLayers } from '../../copy/fetch-layers.ts'
import { openImage } from '../../copy/places.ts'
import type { LayerFile } from '../../doctor/rescue/layer-files.ts'
import { parseReference, type Reference } from '../../oci/reference.ts'
import type { HostView } from '../../sys/host-view.ts'
import { type ProcessTable, readArguments, readProcessTable } from '../../sys/process-files.ts'
import type { Context } from '../command.ts'
import { writeNote } from '../output.ts'
import { placeOptions } from '../transfer.ts'

/** @param named the image that the user names; else those that clients of our own user are pulling */
export async function fetchFromRegistry(
  context: Context,
  host: HostView,
  { named, sizeMax }: { readonly named: string | undefined; readonly sizeMax: number },
): Promise<LayerFile[]> {
  const references = named === undefined ? beingPulled(host, readProcessTable(host)) : [parseReference(named)]
  const options = await placeOptions(context, {
    'tls-ca': undefined,
    cert: undefined,
    key: undefined,
    'insecure-registry': [],
  })
  await mkdir(context.root, { recursive: true })
  const found: LayerFile[] = []
  for (const reference of references) {
    await using image = await openImage({ kind: 'docker', reference }, options)
    const { signal, root: directory } = context
    try {
      for await (const layer of fetchLayers(image, { signal, sizeMax, directory })) {
        const name = `${image.source.name}/${reference.path} ${layer.digest}`
        if (found.some(other => other.digest === layer.digest)) await layer[Symbol.asyncDispose]()
        else found.push({ ...layer, name, position: undefined })
      }
    } catch (error) {
      if (named !== undefined) throw error
      writeNote(context, `  ${(error as Error).message}`) // it may be another engine's, or its layers are here already
    }
  }
  return found
}

const clients = new Set(['docker', 'ctr', 'nerdctl', 'crictl', 'podman'])

/** What other users write on their command lines is theirs: nobody but our own user sends us to a registry. */
function beingPulled(host: HostView, table: ProcessTable): Reference[] {
  const own = process.getuid?.()
  const words = [...table.values()]
    .filter(({ pid, name }) => clients.has(name) && uidOf(host, pid) === own)
    .map(({ pid }) => readArguments(host, pid))
    .filter(args => args.includes('pull'))
    .map(args => args.at(-1) ?? '')
  return [...new Set(words)].flatMap(word => {
    try {
      return [parseReference(word)]
    } catch {
      return []
    }
  })
}

function uidOf(host: HostView, pid: number): number {
  const [, uid] = /^Uid:\t(\d+)/m.exec(host.text(`/proc/${pid}/status`) ?? '') ?? []
  return Number(uid ?? -1)
}
