"""placeholder"""
from dscompile.plan.mcu_lowering import lowered_drafts

def plan_mcu_program(network, target, *, affine=True):
    drafts=lowered_drafts(network,target,affine=affine)
    found=[(d,d.plan()) for d in drafts]
    d,p=min(found,key=lambda f:f[1].placement.size_bytes)
    return d.program(p)
