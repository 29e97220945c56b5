import type { PullEvent } from '../../copy/events.ts'
import { printable } from '../printable.ts'
import { renderFrame, type Screen } from './frame.ts'
import { applyEvent, describeTrouble, newPullState, type PullState } from './state.ts'
import { isTrouble } from './trouble.ts'
import type { View } from './view.ts'
import { textWidth } from './width.ts'

/** Ten times a second is as much as an eye can use. */
const frameMs = 100
/** Clocks and rates go on while no event comes. */
const idleFrameMs = 1000

/** Repaints its lines in place. `readScreen` is asked for every frame: terminals change their size. */
export function newTtyView(name: string, readScreen: () => Screen, startedAt: number): View {
  const state = newPullState(name, startedAt)
  let drawn: string[] = []
  let drawnAt = Number.NEGATIVE_INFINITY
  let changed = true
  const draw = (now: number) => {
    const before = goToFirstLine(drawn, readScreen())
    drawn = renderFrame(state, readScreen(), now)
    drawnAt = now
    changed = false
    // Written over the frame before, not onto an erased screen, which would flicker.
    return `${before}${drawn.map(line => `${line}\x1b[K\n`).join('')}\x1b[J`
  }
  const clear = () => {
    const text = `${goToFirstLine(drawn, readScreen())}\x1b[J`
    drawn = []
    changed = true
    return text
  }
  const handle = (event: PullEvent, now: number) => {
    applyEvent(state, event, now)
    changed = true
    const lines = noteLines(state, event, readScreen())
    if (lines.length === 0) return ''
    return `${clear()}${lines.map(line => `${line}\n`).join('')}${draw(now)}`
  }
  const tick = (now: number) => (now - drawnAt >= (changed ? frameMs : idleFrameMs) ? draw(now) : '')
  return { handle, tick, clear, close: draw }
}

function describeNote(state: PullState, event: PullEvent): string[] {
  if (event.type === 'warning') return [`warning: ${event.message}`]
  if (event.type === 'notice') return [`note: ${event.message}`]
  return isTrouble(event) ? describeTrouble(state, event) : []
}

/** What stays above the frames. */
function noteLines(state: PullState, event: PullEvent, { style, unicode }: Screen): string[] {
  const shown = describeNote(state, event).map(printable)
  return shown.map(line => style('yellow', unicode ? line : line.replace(/[^\x20-\x7e]/gu, '?')))
}

/** Up to the first line of a frame. After the terminal has become narrower, it has wrapped what was wide. */
function goToFirstLine(lines: readonly string[], { columns }: Screen): string {
  const rows = lines.reduce((sum, line) => sum + Math.max(1, Math.ceil(textWidth(line) / Math.max(1, columns))), 0)
  return rows === 0 ? '' : `\x1b[${rows}A\r`
}
