import { readFile } from 'node:fs/promises'
import { text } from 'node:stream/consumers'
import type { SyncEvent, SyncNaming, SyncOutcome, SyncTarget } from '../../copy/sync.ts'
import { WindlassError, wrapError } from '../../errors.ts'
import { quote } from '../../oci/quote.ts'
import { chunkOptions, withChunks } from '../chunks.ts'
import { type Context, defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { formatFailure } from '../failure.ts'
import { writeJsonLine, writeLine, writeNote, writeWarning } from '../output.ts'
import { openPolicy, policyOptions } from '../policy.ts'
import { JoinedEvents } from '../progress/joined.ts'
import { placeOptions, referrersOption } from '../transfer.ts'

const namings = ['path', 'last', 'full'] as const satisfies SyncNaming[]

export const command = defineCommand({
  description:
    "Copies a list of images to a registry (docker://HOST[:PORT][/PREFIX]), into an OCI layout (oci:DIR) or into the store (store:). FILE is skopeo's sync YAML (registries with images, " +
    'images-by-tag-regex, images-by-semver, credentials, tls-verify, cert-dir), a YAML list of references, or one reference a line, with # for comments; - is stdin. ' +
    'Several images are copied at a time. What the destination has is not copied, so that a run that was cut is gone on with by the next; in a layout each blob is read for that, once in a run, as disks lose bytes. An image that fails is told, and keeps no other from being ' +
    'copied; the exit status is that of the first failure.\n' +
    "Each line on stdout has what became of an image, its digest, where it is from and where it is now. All platforms go along, unless one is chosen; the store takes this machine's.",
  operands: [{ name: 'DEST' }],
  rootFor: (options, [to]) => (to === 'store:' && options['dry-run'] !== true ? 'making owners' : undefined),
  options: {
    file: { type: 'string', short: 'f', value: 'FILE', summary: 'the list; - is stdin' },
    'dry-run': { type: 'boolean', summary: 'tell what would be copied, and copy nothing' },
    names: {
      type: 'string',
      value: 'KIND',
      choices: namings,
      summary:
        "what of an image's name a registry keeps: path, the default; last, its last part, as skopeo does; full, the host, too, as skopeo's --scoped",
    },
    images: { type: 'integer', value: 'N', min: 1, max: 32, summary: 'how many images at a time; default is 3' },
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', summary: 'copy one platform of each index only' },
    layers: {
      type: 'integer',
      value: 'N',
      min: 1,
      max: 64,
      summary: 'how many layers of an image at a time; default is 4',
    },
    ...referrersOption,
    ...connectionOptions,
    ...chunkOptions,
    ...policyOptions,
  },
  examples: [
    { line: 'windlass sync -f sync.yml docker://registry.example:5000/mirror', does: 'Keep a mirror up to date.' },
    { line: 'windlass sync -f images.txt oci:/media/disk/images', does: 'Onto a disk for a site without a network.' },
    { line: 'windlass sync --dry-run -f sync.yml store:', does: 'What the store lacks.' },
  ],
  exits: ['0  all are there', 'that of the first failure, if any', '125  the list or DEST makes no sense'],
  async run(
    context,
    [to = ''],
    {
      file,
      'dry-run': isDryRun,
      names,
      images,
      platform,
      layers,
      referrers,
      policy,
      'chunk-size': chunkSize,
      ...network
    },
  ) {
    if (file === undefined) throw new WindlassError('USAGE', 'Cannot sync: no list is named; wanted -f FILE')
    const target = readTarget(to)
    const { parseSyncList } = await import('../../copy/sync-list.ts')
    const { syncImages } = await import('../../copy/sync.ts')
    const list = parseSyncList(await readList(file), file === '-' ? 'on stdin' : file)
    const gatekeeper = await openPolicy(context, policy)
    const places = withChunks(await placeOptions(context, network), chunkSize)
    const copyAll = (onEvent: (event: SyncEvent) => void) =>
      syncImages(list, target, {
        ...places,
        naming: (names ?? 'path') as SyncNaming,
        imagesMax: images,
        layersMax: layers,
        platform,
        isDryRun,
        referrers,
        gatekeeper,
        onEvent,
      })
    const outcomes = await show(context, `Copying to ${to}`, copyAll)
    writeNote(context, summarize(outcomes))
    return outcomes.find(({ error }) => error !== undefined)?.error?.exitStatus ?? 0
  },
})

async function readList(file: string): Promise<string> {
  try {
    if (file === '-') return await text(process.stdin)
    return await readFile(file, 'utf8')
  } catch (error) {
    const { code, message } = wrapError(error, `Cannot read list ${file}`)
    const isMissing = (error as NodeJS.ErrnoException).code === 'ENOENT'
    throw new WindlassError(isMissing ? 'NOT_FOUND' : code, message, { cause: error, hint: 'check the path after -f' })
  }
}

/** @throws WindlassError USAGE */
function readTarget(text: string): SyncTarget {
  if (text === 'store:') return { kind: 'store' }
  const [, directory] = /^oci:([^:]+)$/.exec(text) ?? []
  if (directory !== undefined) return { kind: 'layout', directory }
  const [, prefix] = /^docker:\/\/([^@\s]*[^@\s/])\/*$/.exec(text) ?? []
  if (prefix !== undefined) return { kind: 'registry', prefix }
  const wanted = 'wanted docker://HOST[:PORT][/PREFIX], oci:DIR or store:'
  throw new WindlassError('USAGE', `Cannot sync to ${quote(text)}: ${wanted}`)
}

/** All copies in one display, with what is told of the images above it. */
async function show<Result>(
  context: Context,
  name: string,
  copyAll: (onEvent: (event: SyncEvent) => void) => Promise<Result>,
): Promise<Result> {
  using progress = await context.openProgress(name)
  const joined = new JoinedEvents()
  return await copyAll(event => {
    if (event.type !== 'copy') progress.aside(() => write(context, event))
    else for (const shown of joined.take(event.source, event.event)) progress.handle(shown)
  })
}

function write(context: Context, event: Exclude<SyncEvent, { type: 'copy' }>): void {
  if (event.type === 'warning') return writeWarning(context, `${event.source}: ${event.message}`)
  if (event.type === 'begin') return writeNote(context, `Copying ${event.source} to ${event.destination}`)
  const { error, ...outcome } = event
  if (error !== undefined)
    context.stderr.write(formatFailure(error, { json: context.jsonErrors, debug: context.logLevel === 'debug' }))
  if (context.json) writeJsonLine(context, toJson(event))
  else writeLine(context, formatOutcome(outcome, context.quiet))
}

function toJson({ source, destination, status, digest, referrers, error }: SyncOutcome): object {
  const failure = error && { error: { code: error.code, message: error.message } }
  return { source, destination, status, digest, referrers, ...failure }
}

function formatOutcome({ source, destination, status, digest }: SyncOutcome, quiet: boolean): string {
  if (quiet) return `${status} ${source}`
  return [status.padEnd(9), digest ?? '-', source, ...(destination === undefined ? [] : [destination])].join(' ')
}

function summarize(outcomes: readonly SyncOutcome[]): string {
  const counts = (['copied', 'planned', 'unchanged', 'failed'] as const).map(
    status => [status, outcomes.filter(outcome => outcome.status === status).length] as const,
  )
  return counts
    .filter(([status, count]) => count > 0 || status === 'unchanged')
    .map(([status, count]) => `${count} ${status}`)
    .join(', ')
}
