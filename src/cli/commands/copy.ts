import { archiveOptions, readFileOptions, refuseFileOptions } from '../archive-options.ts'
import { chunkOptions, withChunks } from '../chunks.ts'
import { defineCommand } from '../command.ts'
import { connectionOptions } from '../connections.ts'
import { writeJson, writeLine, writeNote } from '../output.ts'
import { openPolicy, policyOptions } from '../policy.ts'
import { placeOptions, referrersOption, showRun } from '../transfer.ts'

/** Places of this host whose images are run by their names. */
const runsOn: ReadonlySet<string> = new Set(['store', 'docker-daemon', 'containerd', 'containers-storage'])

export const command = defineCommand({
  description:
    "Copies an image between any two places, in skopeo's words: docker://REF, a registry; oci:DIR[:NAME], an OCI layout; oci-archive:FILE[:NAME]; docker-archive:FILE[:REF]; " +
    "store:REF, windlass' own; docker-daemon:REF, containerd:REF and containers-storage:REF, the engines of this host, into which an image is delivered as by 'pull --into'. Digests stay; an archive of docker, and what docker and podman give, has the image's ID and plain layers, but no manifest. From one registry to another nothing is kept on this host, and between repositories of one registry blobs are mounted. " +
    "All platforms of an index go along, unless one is chosen; a docker archive, the store and engines take this machine's.",
  operands: [{ name: 'SRC' }, { name: 'DEST' }],
  rootFor: (_options, [, to]) => (to?.startsWith('store:') ? 'making owners' : undefined),
  options: {
    ...connectionOptions,
    ...chunkOptions,
    platform: { type: 'string', value: 'OS/ARCH[/VARIANT]', summary: 'copy one platform of an index only' },
    layers: { type: 'integer', value: 'N', min: 1, max: 64, summary: 'how many layers at a time; default is 4' },
    ...referrersOption,
    ...archiveOptions,
    ...policyOptions,
  },
  examples: [
    {
      line: 'windlass copy docker://debian:12 docker://registry.example:5000/base/debian:12',
      does: 'From one registry to another, all platforms.',
    },
    { line: 'windlass copy docker://app:2.4 oci-archive:/media/disk/app.tar', does: 'Onto a disk.' },
    { line: 'windlass copy docker-daemon:app:2.4 oci:app', does: 'Out of docker.' },
    {
      line: 'windlass copy oci-archive:/media/disk/app.tar docker-daemon:app:2.4',
      does: 'Into docker, without its decompressor.',
    },
    { line: 'windlass copy docker-archive:app.tar store:app:2.4', does: 'Into the store, under a name.' },
  ],
  exits: ['2  the image was not found', '3  a registry denied access', '4  network or TLS', '5  stalled', '6  corrupt'],
  async run(
    context,
    [from = '', to = ''],
    { platform, layers, checksum, split, referrers, policy, 'chunk-size': chunkSize, ...network },
  ) {
    const { nameIn, parseTransport } = await import('../../copy/transport.ts')
    const { namelessDomain, openImage } = await import('../../copy/places.ts')
    const { copyTo } = await import('../../copy/copy-to.ts')
    const source = parseTransport(from)
    const target = parseTransport(to)
    const files = { checksum, split }
    if (!target.kind.endsWith('-archive')) refuseFileOptions(files, 'the destination is no archive')
    const options = { ...withChunks(await placeOptions(context, network), chunkSize), files: readFileOptions(files) }
    const gatekeeper = await openPolicy(context, policy)
    await using image = await openImage(source, options)
    // What is in the store was let in before; of engines, only those of podman's words can be in a policy.
    const isHere = source.kind === 'store' || source.kind === 'containerd'
    const own = image.reference.domain === namelessDomain ? undefined : image.reference
    // What a file says of itself is a stranger's word: what counts is the name that the image gets.
    const named = nameIn(target)
    const reference = source.kind === 'docker' ? own : (named ?? own)
    const asked = isHere ? [] : [{ transport: source.kind, reference }]
    // By the name that it gets on this host, it is run: the rule for another must not be the way to it.
    const isRenamed = source.kind === 'docker' && runsOn.has(target.kind) && named !== undefined
    const subjects = isRenamed ? [...asked, { transport: 'docker', reference: named }] : asked
    const isNear =
      source.kind === 'docker' && target.kind === 'docker' && source.reference.domain === target.reference.domain
    const mountFrom = isNear ? [source.reference.path] : undefined
    const choices = { from, layersMax: layers, platform, referrers, gatekeeper, subjects, mountFrom }
    const result = await showRun(context, `Copying ${from}`, copyTo(image, target, { ...options, ...choices }))
    if ('referrersCopied' in result && referrers)
      writeNote(context, `Copied ${result.referrersCopied} documents that refer to it`)
    if (context.json) writeJson(context, result)
    else writeLine(context, `${result.digest}`)
    return 0
  },
})
