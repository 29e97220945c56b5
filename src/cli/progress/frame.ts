import { printable } from '../printable.ts'
import {
  isBusy,
  isFinished,
  type LayerState,
  type PullState,
  phaseWord,
  platformText,
  readRate,
  shortDigest,
  sumLayers,
} from './state.ts'
import { formatBar, formatDuration, formatRate, formatSize } from './units.ts'
import { textWidth } from './width.ts'

/** From here on, a stage that does not move is told with the time that it has not moved for. */
export const silenceMs = 5000
const barMax = 52
const barMin = 12
const wordWidth = 14

/** What a frame is drawn for. */
export interface Screen {
  readonly columns: number
  readonly rows: number
  /** False where the locale is not UTF-8: arrows and sums are spelt out. */
  readonly unicode: boolean
  style(name: 'green' | 'cyan' | 'yellow' | 'bold' | 'dim', text: string): string
}

/** The lines of the display at one moment, each narrower than the screen, all together at most `rows - 1` of them. */
export function renderFrame(state: PullState, screen: Screen, now: number): string[] {
  const head = formatHead(state, now)
  const room = Math.max(1, screen.rows - 3)
  const total = state.layers.length === 0 ? [] : [screen.style('bold', fitTotal(state, screen, now))]
  return [cut(head, screen), ...formatLayers(state, screen, room, now), ...total]
}

function formatHead({ name, registry, resolved, layers, startedAt, result }: PullState, now: number): string {
  const waited = now - startedAt >= 1000 && result === undefined ? ` ${formatDuration(now - startedAt)}` : ''
  if (resolved === undefined)
    return printable(registry === undefined ? `${name}${waited}` : `${name}: waiting for ${registry}${waited}`)
  const { digest, platform, reference } = resolved
  const size = layers.reduce((sum, layer) => sum + layer.size, 0)
  const count = `${layers.length} layer${layers.length === 1 ? '' : 's'}`
  return printable(
    `${shortReference(reference)}: ${`${shortDigest(digest)} ${platformText(platform)}`.trimEnd()}, ${count}, ${formatSize(size)}`,
  )
}

/** The digest is told beside it. */
function shortReference(reference: string): string {
  return reference.replace(/@sha\d+:[0-9a-f]+$/, '')
}

/** More layers than rows: what is finished is folded first, then what waits, then the busy ones that do not fit. */
function formatLayers({ layers }: PullState, screen: Screen, room: number, now: number): string[] {
  const draw = (layer: LayerState) => fitLayer(layer, screen, now)
  if (layers.length <= room) return layers.map(draw)
  const open = layers.filter(layer => !isFinished(layer))
  const finished = layers.length - open.length
  const done = finished === 0 ? [] : [screen.style('green', cut(`${count(finished)} complete`, screen))]
  if (open.length + done.length <= room) return [...done, ...open.map(draw)]
  const busy = open.filter(isBusy)
  const shown = busy.slice(0, Math.max(0, room - done.length - 1)).map(draw)
  const rest = open.length - shown.length
  const word = busy.length > shown.length ? 'more' : 'waiting'
  return [...done, ...shown, screen.style('dim', cut(`${count(rest)} ${word}`, screen))].slice(0, room)
}

function count(layers: number): string {
  return `${layers} layer${layers === 1 ? '' : 's'}`
}

function fitLayer(layer: LayerState, screen: Screen, now: number): string {
  const word = phaseWord(layer)
  const head = `${shortDigest(layer.digest)}: ${word.padEnd(wordWidth)}`
  if (layer.phase === 'exists') return screen.style('dim', cut(head.trimEnd(), screen))
  if (layer.phase === 'waiting' || isFinished(layer)) {
    const line = cut(fit([[head, formatSize(layer.size)], [head.trimEnd()]], screen), screen)
    return layer.phase !== 'waiting' ? screen.style('green', line) : screen.style('dim', line)
  }
  const idleMs = now - layer.movedAt
  if (idleMs >= silenceMs) return screen.style('yellow', fit(idleForms(layer, head, idleMs), screen))
  const line = fit(busyForms(layer, head, screen, now), screen)
  return line.replace(/\[=*>? *\]/, bar => screen.style('cyan', bar))
}

/** What a layer waits for when it is not its own bytes. */
const idleWords: Partial<Record<LayerState['phase'], string>> = {
  syncing: 'waiting for the disk or a layer below',
  delivering: 'the engine is at work',
}

function idleForms(layer: LayerState, head: string, idleMs: number): string[][] {
  const waited = formatDuration(idleMs)
  const what = idleWords[layer.phase] ?? 'nothing moved'
  return [
    [head, sizes(layer), `${what} for ${waited}`],
    [head, `${what} for ${waited}`],
    [head, `idle ${waited}`],
  ]
}

/** The richest first; the bar takes what is left. */
function busyForms(layer: LayerState, head: string, screen: Screen, now: number): string[][] {
  const share = layer.size === 0 ? 1 : layer.bytesDownloaded / layer.size
  const percent = `${Math.floor(100 * Math.min(1, share))}%`
  const amount = sizes(layer)
  const network = `${screen.unicode ? '↓ ' : 'net '}${formatRate(readRate(layer.network, now))}`.padEnd(11)
  const unpack = `unpack ${formatRate(readRate(layer.unpack, now))}`
  if (layer.phase === 'syncing' || layer.phase === 'delivering') return [[head, amount], [head, percent], [head]]
  const withBar = (...parts: string[]) => {
    const left = screen.columns - 1 - textWidth([head, ...parts].join(' ')) - 1
    return left < barMin ? [] : [[head, formatBar(share, Math.min(barMax, left)), ...parts]]
  }
  return [
    ...withBar(amount.padEnd(17), network, unpack.padEnd(16)),
    ...withBar(amount.padEnd(17), network),
    [head, amount, network],
    [head, percent, network],
    [head, percent],
  ]
}

function sizes({ bytesDownloaded, size }: LayerState): string {
  return `${formatSize(bytesDownloaded)}/${formatSize(size)}`
}

function fitTotal(state: PullState, screen: Screen, now: number): string {
  const totals = sumLayers(state, now)
  const sum = screen.unicode ? 'Σ' : 'total'
  const layers = `${totals.layersDone}/${totals.layers} layers`
  const { result } = state
  if (result !== undefined) {
    const time = `in ${formatDuration(result.elapsedMs)}`
    const rate = formatRate((1000 * result.bytesDownloaded) / Math.max(1, result.elapsedMs))
    const amount = `${formatSize(result.bytesDownloaded)} pulled`
    return fit(
      [
        [sum, amount, time, `(${rate})`, `${result.entries} entries`, layers],
        [sum, amount, time],
      ],
      screen,
    )
  }
  const amount = `${formatSize(totals.bytesDownloaded)}/${formatSize(totals.bytes)}`
  const network = `${screen.unicode ? '↓ ' : 'net '}${formatRate(totals.networkRate)}`
  const unpack = `unpack ${formatRate(totals.unpackRate)}`
  const left = totals.bytes - totals.bytesDownloaded
  const eta = totals.networkRate > 0 && left > 0 ? [`eta ${formatDuration((1000 * left) / totals.networkRate)}`] : []
  return fit(
    [
      [sum, amount, network, unpack, layers, ...eta],
      [sum, amount, network, unpack, layers],
      [sum, amount, network, layers],
      [sum, amount, layers],
    ],
    screen,
    '  ',
  )
}

/** The first form that fits; if none does, the last one, cut. */
function fit(forms: readonly (readonly string[])[], screen: Screen, glue = ' '): string {
  const lines = forms.map(parts => parts.join(glue).trimEnd())
  return lines.find(line => textWidth(line) < screen.columns) ?? cut(lines.at(-1) ?? '', screen)
}

/** The last column stays free: some terminals wrap as soon as it is written. */
function cut(text: string, { columns }: Screen): string {
  let line = text
  while (textWidth(line) >= columns && line !== '') line = line.slice(0, -1)
  return line
}
