/** The host beside its engines. */
import type { Entries } from './entry.ts'

export const host = {
  ENTROPY_LOW: {
    severity: 'warning',
    en: {
      title: 'The kernel has hardly any entropy',
      meaning: 'Before Linux 5.6 a program that asks for random numbers may wait for minutes, TLS first of all.',
      advice: ['Install haveged or rng-tools, or give the virtual machine virtio-rng.'],
    },
    zh: {
      title: '内核的熵几乎耗尽',
      meaning: '在 Linux 5.6 之前，请求随机数的程序可能等待数分钟，首先是 TLS。',
      advice: ['安装 haveged 或 rng-tools，或为虚拟机配置 virtio-rng。'],
    },
  },
  CLOCK_WRONG: {
    severity: 'problem',
    en: {
      title: 'The clock of this host is wrong',
      meaning: 'It shows a time before this program was made. Certificates and tokens of registries will be refused.',
      advice: ['Set the clock, and keep it right (chrony, systemd-timesyncd).'],
    },
    zh: {
      title: '本机时钟错误',
      meaning: '显示的时间早于本程序的制作时间。仓库的证书和令牌会被拒绝。',
      advice: ['校正时钟并保持同步（chrony、systemd-timesyncd）。'],
    },
  },
  HOST_FINE: {
    severity: 'ok',
    en: { title: 'clock and entropy are right', meaning: 'Nothing is wrong with them.', advice: [] },
    zh: { title: '时钟与熵正常', meaning: '没有问题。', advice: [] },
  },
  CHECK_UNFINISHED: {
    severity: 'unseen',
    en: {
      title: 'A check did not come to its end',
      meaning: 'It was given up in time, or failed in a way that nobody foresaw. Nothing is concluded from it.',
      advice: ['See the evidence; --bundle keeps it for a report.'],
    },
    zh: {
      title: '有一项检查没有完成',
      meaning: '已及时放弃，或以未预料的方式失败。不据此得出任何结论。',
      advice: ['见证据；--bundle 可保存用于报告。'],
    },
  },
} as const satisfies Entries
