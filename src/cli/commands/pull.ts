import type { DecompressorPlan } from '../../codec/external/plan.ts'
import type { Destination } from '../../copy/destination.ts'
import type { PullResult } from '../../copy/events.ts'
import type { PullOptions } from '../../copy/pull.ts'
import type { UnpackThreads } from '../../layer/unpack.ts'
import { formatFamiliar, parseReference } from '../../oci/reference.ts'
import { type Context, defineCommand } from '../command.ts'
import { connectionOptions, plainConnections, readConnections } from '../connections.ts'
import { openCredentials } from '../credentials.ts'
import { openInto } from '../destinations.ts'
import { openEngineTask, watchEngine } from '../engine-notice.ts'
import { toWindlassError } from '../failure.ts'
import { eachOperand } from '../operands.ts'
import { writeJsonLine, writeLine, writeNote, writeWarning } from '../output.ts'
import { openPolicy, policyOptions } from '../policy.ts'
import type { PullRecorder } from '../report/record.ts'
import type { PullReport } from '../report/report.ts'
import { parseBytes } from '../sizes.ts'

export const command = defineCommand({
  description:
    'Pulls each image in one pass: what comes from the registry is verified, decompressed and unpacked while it flows, several layers ' +
    'at a time. What an interrupted pull left is verified and used. The last line on stdout is the full reference with its digest.\n' +
    "Credentials are those of 'docker login', certificates also those of docker's certs.d; HTTP_PROXY, HTTPS_PROXY and NO_PROXY are honoured as by docker. " +
    'Progress goes to stderr.',
  operands: [{ name: 'REF', many: true }],
  rootFor: ({ into = 'store' }) => (into === 'store' ? 'making owners' : undefined),
  options: {
    platform: {
      type: 'string',
      value: 'OS/ARCH[/VARIANT]',
      summary: "the platform to pull; default is this machine's, or DOCKER_DEFAULT_PLATFORM",
    },
    into: {
      type: 'string',
      value: 'SINK',
      summary:
        'where the image goes: store, the default; docker, a running daemon (DOCKER_HOST or context); containerd or containerd:NAMESPACE ' +
        '(CONTAINERD_ADDRESS); podman, the storage of this user. The decompressor of the engine is not used',
    },
    route: {
      type: 'string',
      value: 'ROUTE',
      choices: ['auto', 'registry', 'load', 'containerd', 'files'],
      summary:
        'how an image goes into docker or podman: registry, by a pull of its own from windlass on loopback, for docker with plain layers; load, by ' +
        'docker load with plain layers; containerd, straight into the containerd in which newer dockers keep images, on this host; files, for podman, from ' +
        'a directory; auto, the default, chooses',
    },
    layers: {
      type: 'integer',
      value: 'N',
      min: 1,
      max: 64,
      summary: 'how many layers at a time; default is by cores, at most 6',
    },
    mirror: {
      type: 'string',
      value: 'HOST[:PORT]',
      multiple: true,
      summary:
        'ask this host first, for tags too, and the registry itself last; several are asked in their order. What a tag means is then the ' +
        "mirror's word, as in docker: name a digest to be sure",
    },
    ...policyOptions,
    ...connectionOptions,
    'min-speed': {
      type: 'string',
      value: 'RATE',
      summary:
        'give up connections below this many bytes per second for half a minute, and hosts that stay below it for five minutes, their breaks ' +
        'included; default is 1K, 0 lets all pass',
    },
    'limit-rate': {
      type: 'string',
      value: 'RATE',
      summary: 'download at most this many bytes per second, all layers together: 500K, 10M',
    },
    decompressor: {
      type: 'string',
      value: 'NAME',
      summary:
        "auto, builtin, or a program: unpigz, pigz, igzip, gzip, xz, zstd; auto, the default, takes a program only where 'windlass probe' " +
        'has certified it and found it faster than the one built in',
    },
    'stall-timeout': {
      type: 'integer',
      value: 'SECONDS',
      min: 1,
      max: 86_400,
      summary:
        'how long a disk, or an engine that the image goes into, is waited for that does not answer, once it was named, which takes 30 seconds; default is 300, and ' +
        '600 for an engine. Another windlass that makes the same layer, and does nothing, is waited for as long, 30 at most',
    },
    report: {
      type: 'string',
      value: 'FILE',
      summary:
        'write what happened to FILE.html, a page with timeline and evidence, or FILE.json; also if the pull fails or is stopped',
    },
  },
  examples: [
    { line: 'windlass pull debian:12', does: 'Pull from Docker Hub into the store.' },
    {
      line: 'windlass pull --platform linux/arm64 registry.example:5000/team/app:2.4',
      does: "Pull another platform's image from a private registry.",
    },
    {
      line: 'windlass pull --mirror cache.example:5000 --limit-rate 10M debian:12',
      does: 'Take the image from a mirror, and no more than the line can spare.',
    },
    {
      line: 'windlass pull --tls-ca site-ca.pem registry.example:5000/team/app:2.4',
      does: 'Trust the authority that signed the certificate of a private registry.',
    },
    {
      line: 'windlass pull --report pull.html registry.example:5000/team/app:2.4',
      does: 'Find out why a pull is slow or hangs: a page that opens without a network.',
    },
    {
      line: 'windlass pull --into docker registry.example:5000/team/app:2.4',
      does: 'Into a running docker whose own pulls hang, or with DOCKER_HOST=ssh://node-7 into one on another host.',
    },
    {
      line: 'windlass pull --policy policy.json registry.example:5000/team/app:2.4',
      does: 'Only if it is signed as the policy demands.',
    },
    { line: 'ref=$(windlass pull -q alpine)', does: 'Keep the exact reference, with its digest, in a variable.' },
  ],
  exits: [
    '2  the image, or the platform in it, was not found',
    '3  the registry denied access, or the policy refuses the image',
    '4  network or TLS',
    '5  stalled',
    '8  the engine cannot be reached',
  ],
  async run(context, references, { report: file, ...options }) {
    const {
      platform = context.env['DOCKER_DEFAULT_PLATFORM'] || undefined,
      into = 'store',
      route,
      layers,
      decompressor = 'auto',
      'stall-timeout': stallTimeout,
      policy,
      ...network
    } = options
    const engine = await openInto(context, into, route)
    using threads = engine === undefined ? await startThread() : undefined
    const choices = {
      threads,
      ...(platform !== undefined && { platform }),
      ...(layers !== undefined && { layersMax: layers }),
      ...readNetworkChoices(network),
      connections: await readConnections(context, network),
      ...(stallTimeout !== undefined && { patience: { diskMs: stallTimeout * 1000, engineMs: stallTimeout * 1000 } }),
      decompressors: await openDecompressors(context, decompressor),
      gatekeeper: await openPolicy(context, policy),
      ...(engine !== undefined && { into: engine.destination }),
      ...(engine?.socket !== undefined && { engineTask: await openEngineTask(engine.socket) }),
      ...(file !== undefined && { tellStages: true }),
    }
    const report = file === undefined ? undefined : await openPullReport(context, file, options, references)
    const notice = engine?.socket === undefined ? undefined : watchEngine(engine.socket, context.signal)
    const status = await eachOperand(context, references, async reference => {
      const result = await pullOne(context, reference, choices, report)
      if (context.json) writeJsonLine(context, result)
      else writeLine(context, result.reference)
    })
    // A failure is not kept waiting for more to say.
    const tell = await (status ? Promise.race([notice, undefined]) : notice)
    tell?.(context)
    return report === undefined ? status : await report.close(status)
  },
})

/** One that unpacks starts while the rest of the program is loaded, which takes as long. */
async function startThread(): Promise<UnpackThreads> {
  const { UnpackThreads } = await import('../../layer/unpack.ts')
  const threads = new UnpackThreads()
  await threads.prepare()
  return threads
}

async function openDecompressors(context: Context, decompressor: string): Promise<DecompressorPlan> {
  const { planDecompressors } = await import('../../codec/external/plan.ts')
  const { env, root } = context
  const plan = await planDecompressors({ decompressor, directory: root, path: env['PATH'] ?? '', env })
  for (const warning of plan.warnings) writeWarning(context, warning)
  return plan
}

type Choices = Omit<PullOptions, 'root' | 'credentials' | 'signal'>

function readNetworkChoices(options: {
  mirror: readonly string[]
  'min-speed': string | undefined
  'limit-rate': string | undefined
}): Choices {
  const { mirror, 'min-speed': minSpeed, 'limit-rate': limitRate } = options
  return {
    mirrors: mirror,
    ...(minSpeed !== undefined && { minSpeed: parseRate('--min-speed', minSpeed, 0) }),
    ...(limitRate !== undefined && { limitRate: parseRate('--limit-rate', limitRate, 1024) }),
  }
}

function parseRate(name: string, text: string, min: number): number {
  return parseBytes(name, text, { min, wanted: `bytes per second, at least ${min}, such as 800K or 10M` })
}

async function openPullReport(
  context: Context,
  file: string,
  options: Parameters<typeof import('../report/report.ts').formatCommand>[1],
  references: readonly string[],
): Promise<PullReport> {
  const { formatCommand, openReport } = await import('../report/report.ts')
  return await openReport({ ...context, json: context.jsonErrors }, file, formatCommand('pull', options, references))
}

async function pullOne(
  context: Context,
  text: string,
  choices: Choices,
  report: PullReport | undefined,
): Promise<PullResult> {
  const recorder = report?.openPull(text)
  try {
    return await pullAndShow(context, text, choices, recorder)
  } catch (error) {
    recorder?.fail(toWindlassError(error))
    throw error
  }
}

interface IntoChoice {
  readonly into: Destination
  readonly platform: string | undefined
}

/** What `pull --into` does without other options than `--platform`. */
export async function pullInto(context: Context, text: string, { into, platform }: IntoChoice): Promise<PullResult> {
  const choices = {
    into,
    ...(platform !== undefined && { platform }),
    connections: await readConnections(context, plainConnections),
    decompressors: await openDecompressors(context, 'auto'),
    gatekeeper: await openPolicy(context, undefined),
  }
  return await pullAndShow(context, text, choices, undefined)
}

async function pullAndShow(
  context: Context,
  text: string,
  choices: Choices,
  recorder: PullRecorder | undefined,
): Promise<PullResult> {
  const reference = parseReference(text)
  if (!/[:@]/.test(text.slice(text.lastIndexOf('/') + 1))) writeNote(context, `Using default tag: ${reference.tag}`)
  const { pull } = await import('../../copy/pull.ts')
  const run = pull(text, {
    root: context.root,
    credentials: await openCredentials(context),
    signal: context.signal,
    ...choices,
  })
  const result = await watch(context, `Pulling ${text}`, run, recorder)
  const name = formatFamiliar(reference)
  writeNote(context, `Digest: ${result.digest}`)
  writeNote(context, `Status: ${result.changed ? 'Downloaded newer image' : 'Image is up to date'} for ${name}`)
  return result
}

type PullRun = ReturnType<typeof import('../../copy/pull.ts').pull>

async function watch(
  context: Context,
  name: string,
  run: PullRun,
  recorder: PullRecorder | undefined,
): Promise<PullResult> {
  // A pull that fails ends its events with the same error; it must not be told a second time as an unhandled rejection.
  run.result.catch(() => {})
  using progress = await context.openProgress(name)
  for await (const event of run) {
    progress.handle(event)
    recorder?.handle(event)
  }
  return await run.result
}
